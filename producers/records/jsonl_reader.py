"""Reads JSON Lines: file → lines → records → pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from pydantic import Field

from pipeline.records import Page
from producers.bytes.blocks import DumpFile
from producers.bytes.lines import MAX_LINE_BYTES, Line, read_lines
from producers.cirrussearch.dump_entries import LINE_TOO_LONG
from producers.files.accounting import settle
from producers.files.page_reader import Passed
from producers.files.progress import Progress
from producers.records.mapping_settings import MappingSettings
from producers.records.seen_ids import SeenIds
from producers.wikimedia.documents import Read
from producers.wikimedia.fields import NOT_JSON, Malformed, repair_text

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_value = msgspec.json.Decoder()


class JsonlSettings(MappingSettings):
    """JSON Lines: one object a line."""

    max_line_bytes: int = Field(MAX_LINE_BYTES, ge=1024, description="Longer lines of a dump are skipped, and counted.")


class JsonlReader:
    """One file of records, one a line."""

    def __init__(self, path: Path, start: Progress, settings: JsonlSettings) -> None:
        self.ledger = start.ledger.copy()
        self._dump = DumpFile(path)
        self._start = start.position
        self._max_line_bytes = settings.max_line_bytes
        self._mapping = settings.mapping
        self._seen = SeenIds()

    @property
    def bytes_read(self) -> int:
        return self._dump.bytes_read

    def read(self, tick: Callable[[], None]) -> Iterator[Passed]:
        """The entries from the start position on; see `PageReader`."""
        for line in read_lines(self._blocks(tick), self._start, self._max_line_bytes):
            yield Passed(self._take(line), line.after)

    def _blocks(self, tick: Callable[[], None]) -> Iterator[bytes]:
        for block in self._dump.blocks():
            yield block
            tick()

    def _take(self, line: Line) -> Page | None:
        ledger = self.ledger
        ledger.lines = line.after.line
        if line.data is not None and (not line.data or line.data.isspace()):
            ledger.blank += 1
            return None
        ledger.read += 1
        mended: list[str] = []
        record = Malformed(LINE_TOO_LONG) if line.data is None else read_object(line.data, mended)
        read = record if isinstance(record, Malformed) else self._mapping.read(record)
        if isinstance(read, Read):
            read.mended.extend(mended)
            if self._seen.again(read.page.page_id):
                read.mended.append("duplicate_id")
        return settle(ledger, read)


def read_object(data: bytes | bytearray, mended: list[str]) -> dict[str, object] | Malformed:
    """The JSON object in a line, with U+FFFD for what is no UTF-8 in it."""
    try:
        found = _value.decode(data.removeprefix(_BYTE_ORDER_MARK))
    except _UNREADABLE:
        repaired = repair_text(data)
        if repaired is None:
            return Malformed(NOT_JSON)
        mended.append("text_encoding")
        try:
            found = _value.decode(repaired)
        except _UNREADABLE:
            return Malformed(NOT_JSON)
    return found if isinstance(found, dict) else Malformed("not_an_object")
