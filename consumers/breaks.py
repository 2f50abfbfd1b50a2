"""Places where a text may be cut: ends of sentences, lines and clauses in any script.

No place is inside a character as people see it. A cheap rule, not a linguist's: a wrong sentence end only
moves a window's edge by some tokens.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from enum import IntEnum


class Break(IntEnum):
    """The quality of a cut here; a window takes the best within reach."""

    NEVER = 0
    TOKEN = 1
    WORD = 2
    CLAUSE = 3
    LINE = 4
    SENTENCE = 5


_UNSPACED_STOPS = "。！？｡．।॥။។៕።፧༎"
"""Of scripts that put no space after a sentence: CJK, Devanagari, Myanmar, Khmer, Ethiopic, Tibetan."""

_SPACED_STOPS = ".!?…؟۔։‼⁇⁈⁉᠃᠉"
"""Of scripts that do: Latin, Greek, Cyrillic, Arabic, Urdu, Armenian, Mongolian."""

_LINE_ENDS = "\n\r\u2028\u2029"
_UNSPACED_COMMAS = "、，；："
_SPACED_COMMAS = ",;:،؛·–—"
_CLOSING = r"[\"'”’»›)\]}」』】》〉）］｣]*"

_CANDIDATE = re.compile(f"[{_UNSPACED_STOPS}{_SPACED_STOPS}{_LINE_ENDS}{_UNSPACED_COMMAS}{_SPACED_COMMAS}]")
"""One character class, which `re` scans for six times as fast as for the alternatives of `_BREAK`."""

_BREAK = re.compile(
    rf"(?P<full>[{_UNSPACED_STOPS}]{_CLOSING})"
    rf"|(?P<sentence>[{_SPACED_STOPS}]+{_CLOSING}(?=\s|$))"
    rf"|(?P<line>[{_LINE_ENDS}]+)"
    rf"|(?P<clause>[{_UNSPACED_COMMAS}]|[{_SPACED_COMMAS}](?=\s))"
)

_ABBREVIATIONS = frozenset(
    """
    mr mrs ms dr prof st sr jr vs etc eg ie cf ca approx fig vol pp ed eds al inc ltd co corp gen col sgt capt lt rev
    hon mt ft no nr bzw usw ggf sog vgl bd hrsg str abb geb gest mme mlle av art op cit jan feb mar apr jun jul aug sep
    sept oct nov dec dept est gov sen rep pres bros mio mrd
    """.split()  # noqa: SIM905 - a list of 80 quoted words hides what it is
)
_WORD_BEFORE = re.compile(r"[^\W_]+$")
_LOOK_BACK = 12


def breaks(text: str) -> Iterator[tuple[int, Break]]:
    """Positions after which a sentence, line or clause has ended, with their kind, in order.

    A position is a code point index; white space that follows belongs to neither side.
    """
    reached = 0
    for candidate in _CANDIDATE.finditer(text):
        match = _BREAK.match(text, candidate.start()) if candidate.start() >= reached else None
        if match is None:
            continue
        reached, kind = match.end(), match.lastgroup
        if kind == "line":
            yield match.start(), Break.LINE
        elif kind == "clause":
            yield match.end(), Break.CLAUSE
        elif kind == "full" or not _is_abbreviation(text, match.start(), match.end()):
            yield match.end(), Break.SENTENCE


def _is_abbreviation(text: str, start: int, end: int) -> bool:
    """True when the full stop at `start` ends no sentence: an initial, a known abbreviation, a short ordinal, or a
    lower-case letter goes on."""
    if end - start != 1 or text[start] != ".":
        return False
    follower = text[end + 1 : end + 2]
    if follower.islower():
        return True
    word = _WORD_BEFORE.search(text, max(0, start - _LOOK_BACK), start)
    if word is None:
        return False
    before = word.group()
    if len(before) == 1:
        return before.isdigit() or before.upper() != before.lower()
    return before.lower() in _ABBREVIATIONS or (len(before) == 2 and before.isdigit())


_ZWJ = "\u200d"
_VIRAMA = 9


def splits_character(text: str, position: int) -> bool:
    """True when a cut before `position` would divide what a reader sees as one character.

    Follows the grapheme cluster rules of UAX #29 closely enough for cutting: marks, joiners, emoji sequences, flags,
    Hangul jamo, Indic conjuncts, CR LF. It may refuse a cut that the standard allows.
    """
    if not 0 < position < len(text):
        return False
    before, after = text[position - 1], text[position]
    if after < "\u0300":
        return before == "\r" and after == "\n"
    if unicodedata.category(after)[0] == "M" or before == _ZWJ or _extends(after):
        return True
    if _is_flag_letter(after) and _is_flag_letter(before):
        return _flag_letters_before(text, position) % 2 == 1
    if unicodedata.combining(before) == _VIRAMA:
        return unicodedata.category(after) == "Lo"
    return _joins_hangul(before, after)


def _extends(character: str) -> bool:
    return (
        character in "\u200c\u200d\u0e33\u0eb3\uff9e\uff9f"
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= character <= "\U000e007f"  # tags of regional flags
    )


def _is_flag_letter(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _flag_letters_before(text: str, position: int) -> int:
    start = position
    while start > 0 and _is_flag_letter(text[start - 1]):
        start -= 1
    return position - start


def _joins_hangul(before: str, after: str) -> bool:
    if "\u1160" <= after <= "\u11ff" or "\ud7b0" <= after <= "\ud7fb":
        return "\u1100" <= before <= "\u11ff" or "\ua960" <= before <= "\ua97c" or "\uac00" <= before <= "\ud7fb"
    leading = "\u1100" <= before <= "\u115f" or "\ua960" <= before <= "\ua97c"
    return leading and ("\u1100" <= after <= "\u115f" or "\ua960" <= after <= "\ua97c" or "\uac00" <= after <= "\ud7a3")
