"""Links that open an article at a passage: text fragments, which name the passage's first and last words. Pure.

The browser looks for the first words, then for the last ones behind them, and shows what is between; where it finds
nothing, or knows no text fragments, it opens the page's beginning. Each end must stand in one paragraph and begin and
end with a word, so both are taken from inside a sentence: the page shows marks of footnotes, line breaks and quotation
marks that the text in the table may not have. https://wicg.github.io/scroll-to-text-fragment/
"""

from __future__ import annotations

import re
from urllib.parse import quote

WORDS = 5
"""Words of each end: enough to stand nowhere else in an article, few enough to stand in one paragraph."""
ENOUGH = 4
"""Words of a stretch that is taken at once; the longest is taken where none has so many."""
LOOKED_AT = 600
"""Characters at each end of a passage that are looked at."""
MAX_TERM = 200
"""Characters of an end: in scripts without blanks a stretch is taken whole, for a cut could divide a word."""

_DIRECTIVE = ":~:"
_UNSAFE = '\\s\x00-\x20\x7f-\x9f"<>\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\ufffb'
_ADDRESS = re.compile(f"https?://[^/?#\\\\^`{{|}}{_UNSAFE}][^{_UNSAFE}]*", re.IGNORECASE)
# ASCII but letters, digits, apostrophe and hyphen; signs of Latin-1; stops and commas of other scripts; symbols.
_BETWEEN = re.compile(
    "\\s{2,}|[\x00-\x1f!-&(-,./:-@\\[-`{-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7\u0589\u05be\u05c0\u05c3\u060c\u061b"
    "\u061f\u066a-\u066d\u06d4\u0964\u0965\u0f0b-\u0f14\u104a\u104b\u1362-\u1368\u17d4-\u17da\u2000-\u200b\u200e-\u2018"
    "\u201a-\u206f\u20a0-\u20cf\u2190-\u2bff\u3000-\u3004\u3008-\u3020\u3030\u30fb\ud800-\uf8ff\ufe10-\ufe1f"
    "\ufe30-\ufe6f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\ufff0-\uffff\U0001f000-\U0001faff]+"
)
_WORD = re.compile(r"[^\W_]")
_UNSPACED = "\u0e00"
"""Thai, Lao, Tibetan, Burmese, Khmer, Chinese and Japanese are from here on; what else is, has blanks anyhow."""


def passage_link(url: str, text: str) -> str:
    """The page's address, leading to this passage; empty for what is no http(s) address.

    >>> passage_link("https://en.wikipedia.org/wiki/Snow", "Snow is frozen water vapour. Much falls in winter, then")
    'https://en.wikipedia.org/wiki/Snow#:~:text=Snow%20is%20frozen%20water%20vapour,Much%20falls%20in%20winter'
    """
    if not _ADDRESS.fullmatch(url):
        return ""
    terms = _terms(text)
    if not terms:
        return url
    page, _, fragment = url.partition("#")
    place = fragment.partition(_DIRECTIVE)[0]
    return f"{page}#{place}{_DIRECTIVE}text={','.join(map(_encoded, terms))}"


def _terms(text: str) -> tuple[str, ...]:
    """The passage's first and last words, or all of a short one; none where there are no words."""
    stretches = _stretches(text)
    if not stretches:
        return ()
    first, last = _chosen(stretches), len(stretches) - 1 - _chosen(stretches[::-1])
    if first == last and len(stretches[first]) <= 2 * WORDS:
        return (_term(stretches[first]),)
    return _term(stretches[first][:WORDS]), _term(stretches[last][-WORDS:])


def _stretches(text: str) -> list[list[str]]:
    """The words of each stretch that has nothing but blanks between them, at both ends of a long passage."""
    if len(text) > 2 * LOOKED_AT:
        head, tail = _stretches(text[:LOOKED_AT]), _stretches(text[-LOOKED_AT:])
        # The cuts may have divided a word.
        inner = [*head[:-1], *(words[:-1] for words in head[-1:]), *(words[1:] for words in tail[:1]), *tail[1:]]
        return [words for words in inner if words]
    stretches = (stretch.strip("'’-\u00ad ").split() for stretch in _BETWEEN.split(text))
    return [words for words in stretches if words and _WORD.search(" ".join(words))]


def _chosen(stretches: list[list[str]]) -> int:
    """The place of the first that is long enough, else of the longest."""
    lengths = [_length(words) for words in stretches]
    enough = (place for place, length in enumerate(lengths) if length >= ENOUGH)
    return next(enough, lengths.index(max(lengths)))


def _length(words: list[str]) -> int:
    """Words, where there are blanks between them; of scripts without, a word has about three characters."""
    return max(len(words), sum(character >= _UNSPACED for word in words for character in word) // 3)


def _term(words: list[str]) -> str:
    return " ".join(words)[:MAX_TERM].strip()


def _encoded(term: str) -> str:
    """Percent-encoded, with the hyphen, which has a meaning of its own in a fragment."""
    return quote(term, safe="").replace("-", "%2D")
