"""The table as its readers see it: opened without a right to change anything, and read once more when it moved.

A reader may hold a version whose files the writer's clean-up has just removed. LanceDB says `Not found` then; the
newest version has what that one had, and more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from lancedb.table import LanceTable

from pipeline.errors import UsageError
from pipeline.library_errors import LibraryError, library_errors
from pipeline.settings import MIB, TableSettings
from sinks.fence import Fence
from sinks.rows import LIVE
from sinks.storage import connect, has_table, no_answer, open_table, read_fence

R = TypeVar("R")

CONSISTENCY = timedelta(seconds=5)
"""How old the version that a search sees may be. At 0 every query asks the storage for the newest version first."""

INDEX_CACHE_BYTES = 4096 * MIB
"""At most; it holds what searches have read of the vector index, which is 216 bytes a row. Without room for it each
search reads its partitions again: 147 ms instead of 23 over 500,000 rows."""

METADATA_SHARE = 1 / 16
"""The cache of where in its files each column's values are, to that of the indexes. Over a million rows a writer's
16 MiB are too few for the columns that an answer shows: thirty rows take a quarter longer than with 256."""

FILL = "fill it with `python -m deploy.local run SOURCE…`"


@dataclass(frozen=True, slots=True)
class Reader:
    """A table to read from."""

    lance: LanceTable
    name: str

    @classmethod
    def open(
        cls,
        settings: TableSettings,
        consistency: timedelta = CONSISTENCY,
        *,
        index_cache_bytes: int = INDEX_CACHE_BYTES,
    ) -> Reader:
        """The table of these settings.

        Raises:
            UsageError: there is no such table.
        """
        place = settings.lance_location
        # connect() would make the folder, and a typing error in the address would look like an empty table.
        known = "://" in place or Path(place).is_dir()
        metadata = int(index_cache_bytes * METADATA_SHARE)
        caches = {"index_cache_bytes": index_cache_bytes, "metadata_cache_bytes": metadata}
        database = connect(place, consistency=consistency, **caches) if known else None
        if database is None or not has_table(database, settings.table):
            others = list(database.list_tables().tables) if database is not None else []
            there = f"; there is {', '.join(sorted(others)[:5])}" if others else ""
            raise UsageError(f"no table {settings.table} in {place}{there}: name another (--table), or {FILL}")
        return cls(open_table(database, settings.table), settings.table)

    def read(self, query: Callable[[LanceTable], R]) -> R:
        """The query's answer; asked once more of the newest version when files of the one at hand are gone.

        Raises:
            Fatal, TryAgain: it cannot be read.
        """
        for attempt in (1, 2):
            try:
                with library_errors():
                    return query(self.lance)
            except LibraryError as error:
                if attempt == 2 or not (error.panicked or error.says("Not found")):
                    raise no_answer(self.name, "read", error) from None
                if not error.panicked:
                    self._catch_up(error)
        raise AssertionError("unreachable")

    def stream(self, query: Callable[[LanceTable], Iterable[R]]) -> Iterator[R]:
        """The query's answers one by one, of one version: when files of it go meanwhile there is no second try.

        Raises:
            Fatal, TryAgain: it cannot be read, now or further.
        """
        try:
            with library_errors():
                yield from query(self.lance)
        except LibraryError as error:
            if error.says("Not found"):
                self._catch_up(error)
            raise no_answer(self.name, "read", error) from None

    def fence(self) -> Fence:
        """The fence. Raises Fatal when there is not exactly one."""
        return read_fence(self.lance).fence

    def live_rows(self) -> int:
        """Rows with a text and a vector."""
        return self.read(lambda lance: int(lance.count_rows(LIVE)))

    def _catch_up(self, why: LibraryError) -> None:
        try:
            with library_errors():
                self.lance.checkout_latest()  # type: ignore[no-untyped-call]
        except LibraryError:
            raise no_answer(self.name, "read", why) from None


def refuse_other_model(fence: Fence, tag: str, table: str) -> None:
    """Refuses a table that was not made with the model and chunker settings of this command.

    Raises:
        UsageError: naming both.
    """
    if fence.model != tag:
        raise UsageError(
            f"table {table} was made with {fence.model}, these settings mean {tag}: give the --model, --revision, "
            "--unit, --window-tokens and --overlap-tokens it was made with, or another --table"
        )
