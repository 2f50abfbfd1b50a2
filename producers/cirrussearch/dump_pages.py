"""Entries of a dump to pages, with an account of every entry: nothing leaves this file uncounted."""

from __future__ import annotations

from producers.cirrussearch.dump_entries import Entry
from producers.files.accounting import settle
from producers.files.page_reader import Passed
from producers.ledger import Ledger
from producers.wikimedia.documents import DocumentReader
from producers.wikimedia.fields import UNREADABLE, Dropped, Malformed, own_id


class DumpPages:
    """Makes pages of entries; `ledger` balances after each of them."""

    def __init__(self, documents: DocumentReader, ledger: Ledger) -> None:
        self._documents = documents
        self.ledger = ledger

    def take(self, entry: Entry) -> Passed:
        """The entry's page, counted as produced, or none, counted under its reason."""
        ledger = self.ledger
        ledger.lines = entry.after.line
        ledger.blank += entry.blank
        ledger.paired += entry.lines == 2
        ledger.read += entry.lines > 0
        if entry.malformed:
            ledger.spoil(entry.malformed)
            return Passed(None, entry.after, _named(entry))
        if entry.document is None:
            return Passed(None, entry.after)
        read = self._documents.read(entry.action, entry.document)
        unread = isinstance(read, Malformed) or (isinstance(read, Dropped) and read.reason in UNREADABLE)
        return Passed(settle(ledger, read), entry.after, _named(entry) if unread else None)


def _named(entry: Entry) -> tuple[str, ...]:
    """The ids in what is left of an entry: its action's, its document's; both when they differ."""
    by_action = entry.action.page_id if entry.action is not None else None
    by_document = own_id(entry.document) if entry.document is not None else ""
    return tuple(dict.fromkeys(page_id for page_id in (by_action, by_document) if page_id))
