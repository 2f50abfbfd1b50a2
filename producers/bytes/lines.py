"""Blocks of bytes to lines: the same lines however the bytes were cut into blocks, and never a line without bound."""

from __future__ import annotations

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
