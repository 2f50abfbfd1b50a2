"""The account of everything that a source said: nothing is left out without a reason and a number."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pipeline.rejected import Rejected
from producers.reader import Entry


class Ledger(msgspec.Struct, kw_only=True):
    """The account of one shard, or of several, up to some line.

    It counts entries: a document with its action line (2 lines), or what is left of one (1 line). Two sums must hold,
    `balanced` says whether they do:

    - read = produced + dropped by reason + malformed by reason
    - lines = read + paired + blank: every line of the file belongs to exactly one entry, or is blank
    """

    lines: int = 0
    """Lines of the file passed: as the reader of lines numbers them, so that the second sum checks the pairing."""
    blank: int = 0
    paired: int = 0
    """Entries of two lines."""
    read: int = 0
    produced: int = 0
    """Pages that were handed to Kafka; acknowledged, in a progress record."""
    dropped: dict[str, int] = {}
    """Documents left out on purpose."""
    malformed: dict[str, int] = {}
    """Entries that no page can be made of, because the file is damaged there."""
    mended: dict[str, int] = {}
    """Notes on produced pages, outside the sums: which optional field was bad, or that the action line was lost."""

    @property
    def balanced(self) -> bool:
        accounted = self.produced + sum(self.dropped.values()) + sum(self.malformed.values())
        return self.read == accounted and self.lines == self.read + self.paired + self.blank

    def copy(self) -> Ledger:
        return total([self])

    def take(self, entry: Entry, refused: str = "") -> None:
        """Accounts for an entry; `refused` is why its page, if it has one, is not sent after all."""
        self.lines = entry.after.line
        self.blank += entry.blank
        if entry.page is None:
            return
        self.read += 1
        self.paired += entry.lines == 2
        if isinstance(entry.page, Rejected):
            _add(self.malformed if entry.page.damaged else self.dropped, {entry.page.reason: 1})
            return
        for note in entry.notes:
            _add(self.mended, {note: 1})
        if refused:
            _add(self.dropped, {refused: 1})
        else:
            self.produced += 1


def total(ledgers: list[Ledger]) -> Ledger:
    """The sum of all counts."""
    whole = Ledger()
    for ledger in ledgers:
        for name in ("lines", "blank", "paired", "read", "produced"):
            setattr(whole, name, getattr(whole, name) + getattr(ledger, name))
        for name in ("dropped", "malformed", "mended"):
            _add(getattr(whole, name), getattr(ledger, name))
    return whole


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for reason, count in more.items():
        counts[reason] = counts.get(reason, 0) + count
