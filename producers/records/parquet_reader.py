"""Reads Parquet: file → rows → pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.records import Page
from producers.bytes.lines import Position
from producers.files.accounting import settle
from producers.files.page_reader import Passed
from producers.files.progress import Progress
from producers.records.mapping_settings import MappingSettings
from producers.records.parquet_rows import ParquetRows, Row
from producers.records.seen_ids import SeenIds
from producers.wikimedia.documents import Read


class ParquetReader:
    """One file; its rows are what other files' lines are."""

    def __init__(self, path: Path, start: Progress, settings: MappingSettings) -> None:
        self.ledger = start.ledger.copy()
        self.bytes_read = 0
        self._rows = ParquetRows(path, settings.mapping.skip_fields)
        self._size = start.size
        self._start = start.line
        self._mapping = settings.mapping
        self._seen = SeenIds()

    def read(self, tick: Callable[[], None]) -> Iterator[Passed]:
        """The rows from the start position on; see `PageReader`."""
        count = self._rows.count
        for number, row in enumerate(self._rows.read(self._start), self._start + 1):
            # Nobody knows how far into a file Arrow has looked: as if all rows were of one size.
            self.bytes_read = self._size * number // count
            yield Passed(self._take(row, number), Position(number))
            tick()

    def _take(self, row: Row, number: int) -> Page | None:
        self.ledger.lines = number
        self.ledger.read += 1
        read = self._mapping.read(row.record)
        if isinstance(read, Read):
            read.mended.extend(["unreadable_value"] * row.unreadable)
            if self._seen.again(read.page.page_id):
                read.mended.append("duplicate_id")
        return settle(self.ledger, read)
