"""Entries of a dump to pages, with an account of every entry: nothing leaves this file uncounted."""

from __future__ import annotations

from pipeline.records import Page
from producers.cirrussearch.cirrus_documents import DocumentReader
from producers.cirrussearch.cirrus_json import Dropped, Malformed
from producers.cirrussearch.dump_entries import Entry
from producers.ledger import Ledger


class DumpPages:
    """Makes pages of entries; `ledger` balances after each of them."""

    def __init__(self, documents: DocumentReader, ledger: Ledger) -> None:
        self._documents = documents
        self.ledger = ledger

    def take(self, entry: Entry) -> Page | None:
        """The entry's page, counted as produced, or None, counted under its reason."""
        ledger = self.ledger
        ledger.lines = entry.after.line
        ledger.blank += entry.blank
        ledger.paired += entry.lines == 2
        ledger.read += entry.lines > 0
        if entry.malformed:
            ledger.spoil(entry.malformed)
        elif entry.document is not None:
            return self._page(entry, entry.document)
        return None

    def _page(self, entry: Entry, document: bytes | bytearray) -> Page | None:
        read = self._documents.read(entry.action, document)
        if isinstance(read, Malformed):
            self.ledger.spoil(read.reason)
            return None
        if isinstance(read, Dropped):
            self.ledger.drop(read.reason)
            return None
        self.ledger.produced += 1
        for what in read.mended:
            self.ledger.mend(what)
        return read.page
