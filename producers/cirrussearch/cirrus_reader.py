"""Reads a CirrusSearch dump: file → lines → entries → pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from producers.bytes.blocks import DumpFile
from producers.bytes.lines import read_lines
from producers.bytes.read_ahead import read_ahead
from producers.cirrussearch.cirrus_settings import CirrusSettings
from producers.cirrussearch.dump_entries import read_entries
from producers.cirrussearch.dump_pages import DumpPages
from producers.files.page_reader import Passed
from producers.files.progress import Progress
from producers.ledger import Ledger
from producers.wikimedia.documents import DocumentReader


class CirrusReader:
    """One shard of a dump, in either layout."""

    def __init__(self, path: Path, start: Progress, settings: CirrusSettings) -> None:
        self._dump = DumpFile(path)
        self._start = start.position
        self._max_line_bytes = settings.max_line_bytes
        documents = DocumentReader(start.wiki, start.snapshot, settings.rules)
        self._pages = DumpPages(documents, start.ledger.copy())

    @property
    def ledger(self) -> Ledger:
        return self._pages.ledger

    @property
    def bytes_read(self) -> int:
        return self._dump.bytes_read

    def read(self, tick: Callable[[], None]) -> Iterator[Passed]:
        """The entries from the start position on; see `PageReader`."""
        for entry in read_entries(read_lines(self._blocks(tick), self._start, self._max_line_bytes)):
            yield self._pages.take(entry)

    def _blocks(self, tick: Callable[[], None]) -> Iterator[bytes]:
        for block in read_ahead(self._dump.blocks()):
            yield block
            tick()  # here, and not once an entry: lines of earlier runs are passed over without one
