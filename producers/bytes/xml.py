"""A MediaWiki export as the bytes of its pages, one at a time, found again after any damage.

An XML parser ends at the first byte that is wrong, and takes all pages behind it along. But in an export `<page>` and
`</page>` stand nowhere except around a page, since text has `&lt;` there; so the file is cut at these first, and each
piece is parsed alone. A garbled byte costs the page that it is in. A document type, which could make entities grow,
cannot stand in a piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from producers.bytes.lines import BEGINNING, Position, from_offset

MAX_PAGE_BYTES = 16 * 1024 * 1024
"""A page of 2 MB of wikitext, the wikis' limit, is hardly ever larger than 4 MB here."""

PAGE_TOO_LONG = "page_too_long"
LOST_PAGE_START = "lost_page_start"
LOST_PAGE_END = "lost_page_end"

_START, _STOP, _END = b"<page>", b"</page>", b"</mediawiki>"
_TAG = re.compile(b"|".join((_START, _STOP, _END)))
_PART_OF_TAG = len(_END) - 1


class PageBytes(NamedTuple):
    """What stands between `<page>` and `</page>`, or why there is none."""

    data: bytes | None
    malformed: str
    after: Position
    """Number of pages passed, and bytes of the decompressed file."""


class EndMissing(Exception):
    """The file ends without `</mediawiki>`: there were more pages once."""


class _Part(NamedTuple):
    data: bytes
    tag: bytes
    """What stands behind it; empty when there is more of this part."""
    after: int


class _Piece:
    """Parts joined, as long as they are not too long together."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.clear()

    def clear(self) -> None:
        self._kept = bytearray()
        self._length = 0
        self.blank = True

    def add(self, part: bytes) -> None:
        self._length += len(part)
        self.blank = self.blank and not part.strip()
        if self._length <= self._max_bytes:
            self._kept += part
        else:
            self._kept = bytearray()

    @property
    def data(self) -> bytes | None:
        return bytes(self._kept) if self._length <= self._max_bytes else None


def read_pages(
    blocks: Iterable[bytes], start: Position = BEGINNING, max_bytes: int = MAX_PAGE_BYTES
) -> Iterator[PageBytes]:
    """The pages of an export from `start` on, the same ones however the bytes were cut into blocks.

    Raises:
        EndMissing: behind the last page.
    """
    number = start.line
    piece = _Piece(max_bytes)
    inside = ended = False
    between = start.offset > 0  # before the first page stands what the export says of the wiki
    for part in _parts(from_offset(blocks, start.offset), start.offset):
        piece.add(part.data)
        if not part.tag:
            continue
        lost = ""
        if part.tag == _STOP:
            lost = "" if inside else LOST_PAGE_START
        elif inside or (between and not piece.blank):
            lost = LOST_PAGE_END if inside else LOST_PAGE_START
        if part.tag == _STOP or lost:
            number += 1
            data = None if lost else piece.data
            reason = lost or ("" if data is not None else PAGE_TOO_LONG)
            after = part.after if part.tag == _STOP else part.after - len(part.tag)
            yield PageBytes(data, reason, Position(number, after))
        inside, ended = part.tag == _START, part.tag == _END
        between = not ended  # another export may have been appended
        piece.clear()
    if not ended:
        raise EndMissing


def _parts(blocks: Iterable[bytes], offset: int) -> Iterator[_Part]:
    """The bytes between the tags; `offset` is where the first block stands."""
    rest = b""
    for block in blocks:
        buffer, begin = rest + block, 0
        for found in _TAG.finditer(buffer):
            yield _Part(buffer[begin : found.start()], found.group(), offset + found.end())
            begin = found.end()
        end = max(begin, len(buffer) - _PART_OF_TAG)
        yield _Part(buffer[begin:end], b"", offset + end)
        rest, offset = buffer[end:], offset + end
    yield _Part(rest, b"", offset + len(rest))
