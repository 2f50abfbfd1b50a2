"""A MediaWiki export as its head and the bytes of its pages, one at a time, found again after any damage.

An XML parser ends at the first byte that is wrong, and takes all pages behind it along. But in an export `<page>` and
`</page>` stand nowhere except around a page, since text has `&lt;` there; so the file is cut at these first, and each
piece is parsed alone. A garbled byte costs the page that it is in. A document type, which could make entities grow,
cannot stand in a piece, and the head may have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from xml.etree import ElementTree as ET

from producers.bytes.lines import BEGINNING, Position, from_offset

MAX_PAGE_BYTES = 16 * 1024 * 1024
"""A page of 2 MB of wikitext, the wikis' limit, is hardly ever larger than 4 MB here."""

PAGE_TOO_LONG = "page_too_long"
LOST_PAGE_START = "lost_page_start"
LOST_PAGE_END = "lost_page_end"

MAX_HEAD_BYTES = 1024 * 1024
MAX_TAG_BYTES = 1024
"""With its attributes; what is longer is no tag of an export."""

_TAG = re.compile(rb"<(?:page(?:\s[^<>]{0,1000})?|/page\s{0,16}|/mediawiki\s{0,16})>")
_STOP, _END = b"</p", b"</m"
_HEAD_END = re.compile(rb"</siteinfo\s{0,16}>")
_ENCODING = re.compile(rb"""<\?xml\s[^<>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_SAME_AS_UTF_8 = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})


class PageBytes(NamedTuple):
    """Bytes between `<page …>` and `</page>`, or why there are none."""

    data: bytes | None
    malformed: str
    after: Position
    """Number of pages passed, and bytes of the decompressed file."""


class HeadUnreadable(ValueError):
    """The file does not begin as XML in UTF-8 without a document type does."""


class EndMissing(Exception):
    """The file ends without `</mediawiki>`: there were more pages once."""


class _Part(NamedTuple):
    data: bytes
    tag: bytes
    """The tag behind it; empty when there is more of this part."""
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


def read_head(blocks: Iterable[bytes]) -> ET.Element:
    """The root of an export, with `<siteinfo>` in it where there is one, and without pages.

    Raises:
        HeadUnreadable: with what is wrong, and what to do where that is known.
    """
    head = _head(blocks)
    if (said := _ENCODING.search(head)) and said[1].lower() not in _SAME_AS_UTF_8:
        encoding = said[1].decode()
        raise HeadUnreadable(
            f"it says that it is in {encoding}, and exports are read in UTF-8: "
            f"`iconv -f {encoding} -t UTF-8 FILE | sed 's/ encoding=.{encoding}.//' > FILE.xml` makes that of it"
        )
    # The parser itself looks for a document type: in UTF-16, which it takes for that whatever it is told, the bytes of
    # one look otherwise.
    parser = ET.XMLParser(target=_NoDocumentType(), encoding="utf-8")  # noqa: S314 - no document type, so no entities
    try:
        parser.feed(head + b"</mediawiki>")
        return parser.close()
    except (ET.ParseError, ValueError) as error:
        if isinstance(error, HeadUnreadable):
            raise
        raise HeadUnreadable(f"its head cannot be read ({error})") from None


class _NoDocumentType(ET.TreeBuilder):
    def doctype(self, *_: object) -> None:
        raise HeadUnreadable("it has a document type, which no export has")


def _head(blocks: Iterable[bytes]) -> bytes:
    """Up to the end of `<siteinfo>`, or to the first page of an export that has none."""
    head = bytearray()
    for block in blocks:
        looked_at = max(0, len(head) - MAX_TAG_BYTES)
        head += block[: MAX_HEAD_BYTES + 1 - len(head)]
        if found := _HEAD_END.search(head, looked_at):
            return bytes(head[: found.end()])
        if found := _TAG.search(head, looked_at):
            return bytes(head[: found.start()])
        if len(head) > MAX_HEAD_BYTES:
            break
    raise HeadUnreadable(f"there is no page in its first {len(head):,} bytes")


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
        lost, stops = "", part.tag.startswith(_STOP)
        if stops:
            lost = "" if inside else LOST_PAGE_START
        elif inside or (between and not piece.blank):
            lost = LOST_PAGE_END if inside else LOST_PAGE_START
        if stops or lost:
            number += 1
            data = None if lost else piece.data
            reason = lost or ("" if data is not None else PAGE_TOO_LONG)
            after = part.after if stops else part.after - len(part.tag)
            yield PageBytes(data, reason, Position(number, after))
        ended = part.tag.startswith(_END)
        inside = not stops and not ended
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
        end = buffer.rfind(b"<", max(begin, len(buffer) - MAX_TAG_BYTES))
        if end < 0 or buffer.find(b">", end) >= 0:
            end = len(buffer)
        yield _Part(buffer[begin:end], b"", offset + end)
        rest, offset = buffer[end:], offset + end
    yield _Part(rest, b"", offset + len(rest))
