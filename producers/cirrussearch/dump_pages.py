"""Entries of a dump to pages, with an account of every entry: nothing leaves this file uncounted."""

from __future__ import annotations

from pipeline.records import Page
from producers.cirrussearch.cirrus_documents import DocumentReader
from producers.cirrussearch.dump_entries import Entry
from producers.files.accounting import settle
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
            return settle(ledger, self._documents.read(entry.action, entry.document))
        return None
