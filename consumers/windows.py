"""Lays windows over a text's tokens: where each begins and ends, in tokens and in code points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumers.breaks import Break, breaks, splits_character
from consumers.tokens import Tokens

Levels = NDArray[np.uint8]

CANDIDATES = 32
"""Tokens tried for a cut that splits no character, before one is split after all (a base under 1,000 accents)."""


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens `first` to `last` (exclusive), which stand at `start` to `end` (exclusive) in the text."""

    first: int
    last: int
    start: int
    end: int


def windows(text: str, tokens: Tokens, size: int, overlap: int) -> list[Window]:
    """Windows of at most `size` tokens, each sharing about `overlap` with the one before; `overlap` <= `size` / 2.

    Together the spans cover everything but white space, characters without a token included (control characters,
    mostly); a text without any token has one window without tokens. Ends are put at the best break in the window's
    second half, starts at the first sentence within the overlap, else at the best there is.
    """
    if not text or text.isspace():
        return []
    if len(tokens) == 0:
        return [Window(0, 0, _skip_space(text, 0), len(text.rstrip()))]
    cutter = _Cutter(text, tokens)
    found: list[Window] = []
    for first, last in _ranges(cutter, len(tokens), size, overlap):
        window = Window(first, last, cutter.start(first), cutter.end(last))
        if window.end > (found[-1].end if found else window.start):  # else it adds nothing but tokens of white space
            found.append(window)
    return found


def first_window(text: str, tokens: Tokens, size: int) -> list[Window]:
    """One window over the first `size` tokens, cut between words; none for a text without content."""
    if not text or text.isspace():
        return []
    if len(tokens) <= size:
        return [Window(0, len(tokens), _skip_space(text, 0), len(text.rstrip()))]
    cutter = _Cutter(text, tokens)
    last = cutter.best(max(0, size - CANDIDATES), size, prefer=Break.WORD)
    return [Window(0, last, cutter.start(0), cutter.end(last))]


def _ranges(cutter: _Cutter, count: int, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    first, last = 0, 0
    while True:
        if first + size >= count:
            yield first, count
            return
        end = cutter.best(max(first + size // 2, last), first + size, prefer=Break.SENTENCE)
        yield first, end
        if end >= count:
            return
        first, last = cutter.begin(max(end - overlap, first + 1), end), end


class _Cutter:
    """Knows how good a cut before each token is, and which position in the text it means."""

    def __init__(self, text: str, tokens: Tokens) -> None:
        self._text = text
        self._tokens = tokens
        self._levels = _levels(text, tokens)

    def best(self, low: int, high: int, prefer: Break) -> int:
        """The last best cut in (low, high]: of the preferred kind or better, else of the next lower one, and so on.

        Ends in `high` at the latest, or past it where one character has more tokens than that.
        """
        for level in range(prefer, Break.NEVER, -1):
            reach = low if level >= Break.LINE or level == Break.TOKEN else max(low, high - (high - low) // 2)
            candidates = np.flatnonzero(self._levels[reach + 1 : high + 1] >= level)[::-1][:CANDIDATES]
            for candidate in candidates.tolist():
                if not self._splits(reach + 1 + candidate):
                    return int(reach + 1 + candidate)
        return self._forced(low, high)

    def begin(self, low: int, end: int) -> int:
        """The first best token in [low, end) to begin a window with; `end` when there is none."""
        for level in (Break.LINE, Break.CLAUSE, Break.WORD, Break.TOKEN):
            for candidate in np.flatnonzero(self._levels[low:end] >= level)[:CANDIDATES].tolist():
                if not self._splits(low + candidate):
                    return int(low + candidate)
        return end

    def start(self, token: int) -> int:
        """The place in the text at which a window that begins with this token begins."""
        return _skip_space(self._text, self._cut(token))

    def end(self, token: int) -> int:
        """The place in the text at which a window that ends before this token ends."""
        position = self._cut(token)
        while position > 0 and self._text[position - 1].isspace():
            position -= 1
        return position

    def _cut(self, token: int) -> int:
        """The first white space between the token and the one before, so that characters without a token stay with
        the word that they touch; without any, the token's start."""
        if token == 0:
            return 0
        if token == len(self._tokens):
            return len(self._text)
        start = int(self._tokens.starts[token])
        for position in range(int(self._tokens.ends[token - 1]), start):
            if self._text[position].isspace():
                return position
        return start

    def _splits(self, token: int) -> bool:
        return splits_character(self._text, self.start(token))

    def _forced(self, low: int, high: int) -> int:
        """A cut where none is good: between characters at least."""
        allowed = np.flatnonzero(self._levels[low + 1 : high + 1] > Break.NEVER)
        if len(allowed):
            return int(low + 1 + allowed[-1])
        beyond = np.flatnonzero(self._levels[high + 1 :] > Break.NEVER)
        return int(high + 1 + beyond[0]) if len(beyond) else len(self._tokens)


def _levels(text: str, tokens: Tokens) -> Levels:
    """The `Break` before each token; several tokens of one character have `NEVER` between them."""
    levels = np.full(len(tokens), Break.TOKEN, dtype=np.uint8)
    levels[tokens.spaced] = Break.WORD
    levels[1:][tokens.starts[1:] < tokens.ends[:-1]] = Break.NEVER
    found = np.array(list(breaks(text)), dtype=np.int32).reshape(-1, 2)
    at = np.searchsorted(tokens.starts, found[:, 0], side="left")
    real = (at > 0) & (at < len(tokens))
    at, positions, kinds = at[real], found[real, 0], found[real, 1]
    real = tokens.ends[at - 1] <= positions
    np.maximum.at(levels, at[real], kinds[real].astype(np.uint8))
    return levels


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position
