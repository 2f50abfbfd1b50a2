"""Reads files as the runner does: every entry goes into an account, which balances behind each of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.records import Page
from producers.account import Ledger
from producers.bytes.lines import BEGINNING, Position
from producers.reader import DocumentReader, Tick
from producers.run.shards import Origin, Shard


class Passed(NamedTuple):
    """An entry that was passed; no page where it is blank or rejected."""

    page: Page | None
    after: Position


def shard_of(path: Path, origin: Origin = Origin()) -> Shard:  # noqa: B008 - never changed
    """The file as a shard, whatever its name."""
    return Shard("test", path, origin, path.stat().st_size if path.exists() else 0, "")


class Counted:
    """A reader from a position on, and the account of all before and behind it."""

    def __init__(self, reader: DocumentReader, start: Position = BEGINNING, ledger: Ledger | None = None) -> None:
        self.reader = reader
        self.ledger = (ledger or Ledger()).copy()
        self._start = start

    def read(self, tick: Tick = lambda: None) -> Iterator[Passed]:
        for entry in self.reader.read(self._start, tick):
            self.ledger.take(entry)
            assert self.ledger.balanced, self.ledger
            yield Passed(entry.page if isinstance(entry.page, Page) else None, entry.after)

    def pages(self) -> list[Page]:
        return [passed.page for passed in self.read() if passed.page is not None]
