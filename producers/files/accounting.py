"""What became of one entry, written into the ledger."""

from __future__ import annotations

from pipeline.records import Page
from producers.ledger import Ledger
from producers.wikimedia.documents import Read
from producers.wikimedia.fields import Dropped, Malformed


def settle(ledger: Ledger, read: Read | Dropped | Malformed) -> Page | None:
    """The page of an entry that is counted as read, now counted as produced; or None, counted under its reason."""
    if isinstance(read, Malformed):
        ledger.spoil(read.reason)
        return None
    if isinstance(read, Dropped):
        ledger.drop(read.reason)
        return None
    ledger.produced += 1
    for what in read.mended:
        ledger.mend(what)
    return read.page
