"""The lists of references in a page's text, which CirrusSearch leaves in it."""

from __future__ import annotations

from collections.abc import Sequence

HEADINGS = frozenset(
    {
        *("references", "notes", "footnotes", "citations", "sources", "works cited", "literature cited"),
        *("notes and references", "references and notes", "notes and citations", "footnotes and references"),
        *("einzelnachweise", "anmerkungen", "belege", "quellen", "fußnoten", "anmerkungen und einzelnachweise"),
        *("références", "notes et références", "notes", "referencias", "notas", "notas y referencias"),
        *("referencias y notas", "referências", "notas e referências", "note", "note e riferimenti", "riferimenti"),
        *("referenties", "bronnen", "voetnoten", "bronnen, noten en/of referenties", "przypisy", "примечания"),
        *("сноски", "источники", "примітки", "джерела", "脚注", "出典", "参考资料", "參考資料", "注释", "註釋", "각주"),
        *("källor", "fotnoter", "referenser", "referencer", "kilder", "referanser", "lähteet", "viitteet"),
        *("kaynakça", "dipnotlar", "poznámky", "reference", "források", "jegyzetek", "viited", "chú thích"),
        *("tham khảo", "المراجع", "הערות שוליים"),
    }
)
"""In lower case. Further reading and external links are not among them: they name what the page is about."""


def without_references(text: str, headings: Sequence[str]) -> str:
    """The text without the sections that list references, or as it was when its headings cannot be told in it.

    A text has no marks of its sections. But it has its headings, in the order of the page's own list, so they are
    looked for from the end backwards. If one is missing, nothing is removed: a word of the prose was taken for one.
    """
    places = _places(text, headings)
    kept, end = [], len(text)
    for heading, place in places:
        if heading.strip().casefold() not in HEADINGS:
            kept.append(text[place:end])
        end = place
    kept.append(text[:end])
    return " ".join(part.strip() for part in reversed(kept) if part.strip())


def _places(text: str, headings: Sequence[str]) -> list[tuple[str, int]]:
    """Each heading and where it begins, the last first; empty when one is not there."""
    places, end = [], len(text)
    for heading in reversed(headings):
        end = _last_place(text, heading.strip(), end)
        if end < 0:
            return []
        places.append((heading, end))
    return places


def _last_place(text: str, words: str, end: int) -> int:
    while words and (end := text.rfind(words, 0, end)) >= 0:
        after = end + len(words)
        if (after == len(text) or text[after] == " ") and (end == 0 or text[end - 1] == " "):
            return end
    return -1
