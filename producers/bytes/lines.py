"""Blocks of bytes to lines, and the JSON in them as far as it can be read.

The same lines come out however the bytes were cut into blocks, and never a line without bound. Python's own writer of
JSON gives `NaN` and `Infinity`, which no JSON has, and whole numbers of any length; a text that was cut in the middle
of a character, or has half of a surrogate pair, is no UTF-8: each of these costs its own value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

LINE_TOO_LONG = "line_too_long"
"""Reason for a line that was not kept."""

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A page of 2 MB of wikitext, the wikis' limit, gives a line of some 10 MB."""


BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""U+FEFF in UTF-8, which programs for Windows put before a text; files joined with `cat` have it before other lines."""


class Position(NamedTuple):
    """A place between two lines of a decompressed file, where reading can go on."""

    line: int = 0
    """Number of the next line, from 0."""
    offset: int = 0
    """Bytes of the decompressed file before it: the next line is found without counting the lines before it."""


BEGINNING = Position()


class Line(NamedTuple):
    """One line without its newline, and without a byte order mark."""

    data: bytes | bytearray | None
    """None: it was longer than the bound and was not kept."""
    after: Position

    @property
    def number(self) -> int:
        return self.after.line - 1


def read_lines(
    blocks: Iterable[bytes],
    start: Position = BEGINNING,
    max_bytes: int = MAX_LINE_BYTES,
) -> Iterator[Line]:
    """The lines of a file from `start` on; a last line without a newline counts.

    When `blocks` raises, the line that it broke off in is not given out: half a line is no line.
    """
    number, offset = start
    kept, length = bytearray(), 0  # the line that the last block ended in
    for block in from_offset(blocks, start.offset):
        begin = 0
        while (end := block.find(b"\n", begin)) >= 0:
            data: bytes | bytearray
            if not length:
                data = block[begin:end]
            else:
                data, kept = _grown(kept, memoryview(block)[begin:end], length, max_bytes), bytearray()
            length += end - begin
            number, offset = number + 1, offset + length + 1
            yield Line(data.removeprefix(BYTE_ORDER_MARK) if length <= max_bytes else None, Position(number, offset))
            begin, length = end + 1, 0
        kept = _grown(kept, memoryview(block)[begin:], length, max_bytes)
        length += len(block) - begin
    if length:
        last = kept.removeprefix(BYTE_ORDER_MARK) if length <= max_bytes else None
        yield Line(last, Position(number + 1, offset + length))


def _grown(kept: bytearray, part: memoryview, length: int, max_bytes: int) -> bytearray:
    """The line so far, in place (joining the parts of a 60 MB line would hold it twice); nothing of one too long."""
    if length + len(part) > max_bytes:
        return bytearray()
    kept += part
    return kept


def from_offset(blocks: Iterable[bytes], offset: int) -> Iterator[bytes]:
    """The blocks without their first `offset` bytes."""
    position = 0
    for block in blocks:
        position += len(block)
        if position > offset:
            yield block if position - len(block) >= offset else block[offset - position :]


NOT_JSON = "not_json"
"""Reason for an entry that is no JSON."""

BAD_TEXT, BAD_NUMBER = "text_encoding", "bad_number"
"""Notes of what was mended."""

# Escapes in order, so that the second backslash of `\\ud800` is not taken for the start of one.
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)")
_LONE_SURROGATE_LENGTH = len(rb"\ud800")

# Strings whole, so that no word inside one is taken for a number; one without its end goes on to the line's, or it
# would be read anew from each quote in it.
_STRING = rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)'
_NUMBER = rb"-?(?:NaN|Infinity)\b|-?[0-9]++(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
_STRING_OR_NUMBER = re.compile(rb"%b|%b" % (_STRING, _NUMBER), re.DOTALL)
_MOST_DIGITS = 4_000
"""Of a whole number; Python takes 4,300."""


class Mended(NamedTuple):
    """JSON that was mended, and what was wrong with it: `BAD_TEXT`, `BAD_NUMBER` or both."""

    data: bytes
    notes: list[str]


def mend_json(data: bytes | bytearray, nothing: bytes = b"null") -> Mended | None:
    """The JSON with U+FFFD for what is no text, and `nothing` for what is no number; None when neither is in it.

    To be tried when a reader refused `data`. It may still be no JSON.
    """
    text = repair_text(data)
    written = bytes(data) if text is None else text
    repaired = _STRING_OR_NUMBER.sub(lambda found: found[0] if _is_read(found[0]) else nothing, written)
    notes = [BAD_TEXT] * (text is not None) + [BAD_NUMBER] * (repaired != written)
    return Mended(repaired, notes) if notes else None


def _is_read(value: bytes) -> bool:
    """True of a string, and of a number that is not too large for this machine's numbers."""
    if value[:1] == b'"':
        return True
    if value.removeprefix(b"-").isdigit():
        return len(value) <= _MOST_DIGITS
    return math.isfinite(float(value))


def repair_text(data: bytes | bytearray) -> bytes | None:
    """The bytes with U+FFFD for bad UTF-8 and halves of surrogate pairs; None when there is neither."""
    repaired = _ESCAPE.sub(_without_lone_surrogate, data.decode("utf-8", "replace").encode())
    return None if repaired == data else repaired


def _without_lone_surrogate(escape: re.Match[bytes]) -> bytes:
    found = escape.group()
    return rb"\ufffd" if len(found) == _LONE_SURROGATE_LENGTH else found
