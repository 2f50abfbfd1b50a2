"""The part of a text that has a question's words, and where they stand in it. Pure.

A reader's help, not the search: stemmers and tokenizers of the table know better which words are the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from pipeline.terminal import plain
from sinks.names import folded

SNIPPET = 240
"""Characters of a chunk on the screen; --json has all of it."""
BEFORE = 60
"""Characters before the first word that is shown, for a reader to find into the sentence."""
MAX_WORDS = 50
"""Words of a question that are looked for."""

_TOKEN = re.compile("[^\\s\x00-/:-@\\[-`{-\xbf\u060c\u061b\u061f\u0964\u0965\u2000-\u206f\u3000-\u303f\uff00-\uff0f]+")
_LONG = 4
"""Letters of a word that is more than grammar in languages of Latin, Greek and Cyrillic letters."""
_DENSE = "\u0590"
"""From here on, in Hebrew, Arabic, Hindi and so on, words of two letters tell something."""
_ENDING = 3
"""Letters more that another form of a word may have."""
_UNSPACED = "\u0e00"
"""From here on are the scripts without blanks between words, where pairs of characters are looked for."""

Spans = list[tuple[int, int]]


def words_of(question: str) -> tuple[str, ...]:
    """The words to look for, folded: without the short ones, unless there are no others."""
    words = list(dict.fromkeys(filter(None, map(_key, _TOKEN.findall(question)))))[:MAX_WORDS]
    telling = [word for word in words if len(word) >= _LONG or word >= _DENSE or not word.isalpha()]
    return tuple(telling or words)


def spans_of(line: str, words: Sequence[str]) -> Spans:
    """The places in a line at which one of these words, or another form of one, stands."""
    return [span for span, _ in _found(line, words)]


def snippet(text: str, words: Sequence[str] = ()) -> str:
    """The stretch of a text with the most of these words, else its beginning; on one line, cut between words."""
    line = clean(text)
    if len(line) <= SNIPPET:
        return line
    start = _best_start(line, _found(line, words))
    part = line[start : start + SNIPPET]
    if start + SNIPPET < len(line):
        part = (part[: part.rfind(" ")] if " " in part[SNIPPET // 2 :] else part) + "…"
    return f"…{part}" if start else part


def clean(text: str) -> str:
    """Text from a dump on one line."""
    return " ".join(plain(text).split())


def _best_start(line: str, found: Sequence[tuple[tuple[int, int], str]]) -> int:
    best, most = 0, len({word for (_, end), word in found if end <= SNIPPET})
    for (first, _), _ in found:
        start = _word_start(line, max(0, first - BEFORE))
        inside = {word for (begin, end), word in found if begin >= start and end <= start + SNIPPET}
        if len(inside) > most:
            best, most = start, len(inside)
    return best


def _word_start(line: str, near: int) -> int:
    blank = line.find(" ", near, near + BEFORE // 2) if near else -1
    return blank + 1 if blank >= 0 else near


def _found(line: str, words: Sequence[str]) -> list[tuple[tuple[int, int], str]]:
    found = []
    for token in _TOKEN.finditer(line):
        key = _key(token[0])
        for word in words:
            if word >= _UNSPACED or key >= _UNSPACED:
                found += [((token.start() + at, token.start() + at + 2), word) for at in _pairs(token[0], word)]
            elif _same(key, word):
                found.append((token.span(), word))
                break
    return found


def _pairs(token: str, word: str) -> list[int]:
    pairs = {word[at : at + 2] for at in range(len(word) - 1)}
    return [at for at in range(len(token) - 1) if token[at : at + 2] in pairs]


def _same(one: str, other: str) -> bool:
    """True for forms of one word, as far as their beginnings tell."""
    if one == other:
        return True
    short, long = sorted((len(one), len(other)))
    alike = max(_LONG, short - 1)
    return short >= _LONG and long - short <= _ENDING and one[:alike] == other[:alike]


@lru_cache(10_000)
def _key(token: str) -> str:
    return folded(token)
