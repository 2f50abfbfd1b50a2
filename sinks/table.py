"""The table, as its one writer sees it: every change is one merge that moves the fence, or no change at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import lancedb
import msgspec
import pyarrow as pa
import structlog
from lancedb.table import LanceTable

from pipeline.errors import Replaced
from pipeline.library_errors import LibraryError, library_errors
from pipeline.records import EmbeddedPage
from pipeline.service import Watch, unwatched
from sinks.backfill import filled, stale_rows
from sinks.derived import SOURCES
from sinks.fence import FENCE_SCHEMA, Fence, Stamped, Version, new_stamp, refuse_other_model
from sinks.languages import TEXT_COLUMNS
from sinks.merge import FILLED, NEWER, Merger, Way, listed, overruling
from sinks.notebook import embed_no_rows
from sinks.rows import (
    NewPage,
    StoredPage,
    VectorRule,
    against,
    fence_row,
    page_rows,
    stored_pages,
    table_schema,
)
from sinks.storage import Pause, no_answer, open_table, quoted, read_fence, retried

TAKE_OVER_SECONDS = 10.0
LOOK_UP_PAGES = 1_000
"""Pages asked for in one filter; the index answers each in about 20 microseconds."""
DELETE_PAGES = 100

FILE_FORMAT = {"new_table_data_storage_version": "2.1"}
"""Lance's format of the files of a new table. In 2.2, which LanceDB would take, a value of a column that is the same in
many rows (`snapshot`, `metadata`) is read by going through all rows before it: thirty rows of a million take 21 ms of
processor time there and 8 in 2.1, for 2 % more bytes without the vectors (`bench.search`)."""

Impossible = Callable[[Version, int], bool]
"""True when no page in this partition of `pages` can have this version: a forged source got into the table."""


@dataclass(frozen=True, slots=True)
class Written:
    """The result of one `write`."""

    pages: int
    stale: int
    """Pages left out, for the table or the batch itself has the same version or a newer one."""
    rows: int
    dead_rows: int
    bytes: int = 0
    """Of all these rows in memory; on disk texts take less."""
    texts: frozenset[str] = frozenset()
    """Full-text columns that these rows have something in."""


class Table:
    """A table taken over for writing.

    Make one with `create` or `take_over`. It is this writer's until another takes it over, which every method answers
    with `Replaced`. Look-up and merge happen inside `write`: nothing else may change rows in between.
    """

    def __init__(
        self,
        lance: LanceTable,
        rule: VectorRule,
        read: Stamped,
        pause: Pause = time.sleep,
        *,
        watch: Watch = unwatched,
    ) -> None:
        self.lance = lance
        self.rule = rule
        self._merger = Merger(lance, rule, read, pause, watch)

    @property
    def name(self) -> str:
        return str(self.lance.name)

    @property
    def location(self) -> str:
        """Folder or address of the table's files."""
        return str(self.lance.uri)

    @property
    def fence(self) -> Fence:
        """The fence as this writer last read it; what it says is in the table."""
        return self._merger.last.fence

    @property
    def unfilled(self) -> bool:
        """True when rows may lack derived columns, until `backfill` finds none."""
        return self._merger.unfilled

    @classmethod
    def create(
        cls,
        database: lancedb.DBConnection,
        name: str,
        fence: Fence,
        rule: VectorRule,
        *,
        metadata: Mapping[str, str] = MappingProxyType({}),
        watch: Watch = unwatched,
    ) -> Table:
        """Makes the table with its fence row; the loser of a race takes over what the winner made.

        Args:
            metadata: of the table's schema, which LanceDB takes here and never again.

        Raises:
            Fatal: the place cannot be written to.
        """
        row = fence_row(fence, new_stamp(), None, rule)
        if metadata:
            row = row.replace_schema_metadata(dict(metadata))
        try:
            with library_errors():
                database.create_table(name, row, mode="create", on_bad_vectors="null", storage_options=FILE_FORMAT)
        except LibraryError as error:
            if not error.says("already exists"):
                raise no_answer(name, "made", error) from None
        return cls.take_over(database, name, fence, rule, watch=watch)

    @classmethod
    def take_over(
        cls,
        database: lancedb.DBConnection,
        name: str,
        mine: Fence,
        rule: VectorRule,
        change: Callable[[Fence], Fence] = lambda fence: fence,
        *,
        watch: Watch = unwatched,
    ) -> Table:
        """Becomes the writer of an existing table; the one before finds out at its next merge.

        A writer at work may merge between our look at the fence and our merge. It is the one to end, so we look again;
        but not for long: one that slept here must not wake up and take the table from its successor.

        Args:
            change: is applied to the fence in the same merge (`--adopt`, `--rebuild`), whenever we look.
            watch: tells the process' watchdog what the table does, and how long that may take.

        Raises:
            Fatal: the table is of another model, or is none of ours.
            Replaced: others went on writing for `TAKE_OVER_SECONDS`.
        """
        embed_no_rows()
        lance = open_table(database, name)
        deadline = time.monotonic() + TAKE_OVER_SECONDS
        while True:
            read = read_fence(lance, watch=watch)
            refuse_other_model(read.fence, mine, name)
            table = cls(lance, rule, read, watch=watch)
            try:
                table._merge(table_schema(rule).empty_table(), change(read.fence))
                table._merger.add_missing()
                return table
            except Replaced:
                if time.monotonic() > deadline:
                    raise

    def write(
        self,
        pages: Iterable[EmbeddedPage],
        next_offsets: Mapping[int, int],
        impossible: Impossible = lambda version, partition: False,
    ) -> Written:
        """Puts a batch and its offsets into the table; they are there, all or none, when this returns.

        The pages must have passed `page_faults.rejection`, and their sources' topics must be in the fence's list. A
        newer version that is `impossible` gives way to them: it would win for good, against a repair too.

        Raises:
            Replaced: another writer took the table over; nothing of this batch is in it.
            Fatal: the table is gone, full, or cannot be written to.
            TryAgain: it did not work for minutes.
        """
        self._merger.add_missing()
        newest, messages = self._newest(pages)
        stored = self._look_up(list(newest))
        overruled = {
            key
            for key, (version, page) in newest.items()
            if key in stored
            and stored[key].version > version
            and impossible(stored[key].version, page.source.partition)
        }
        fresh = [against(page, version, stored.get(key), key in overruled) for key, (version, page) in newest.items()]
        new = [page for page in fresh if page is not None]
        self._remove_damaged([page for page in new if page.page.key in stored and stored[page.page.key].damaged])
        rows = page_rows(new, self.rule)
        self._merge(rows, self.fence.moved(next_offsets), overruling(overruled))
        dead = sum(len(page.dead) for page in new)
        texts = frozenset(name for name in TEXT_COLUMNS if rows[name].null_count < rows.num_rows)
        return Written(len(new), messages - len(new), rows.num_rows - dead, dead, rows.nbytes, texts)

    def note(self, change: Callable[[Fence], Fence]) -> None:
        """Writes a changed fence and no rows: what upkeep has measured, say.

        Raises:
            Replaced, Fatal, TryAgain: as `write` does.
        """
        self._merge(table_schema(self.rule).empty_table(), change(self.fence))

    def backfill(self, limit: int) -> int:
        """Makes the derived columns of at most `limit` rows that lack them; says of how many, 0: none can be filled.

        Of large rows it takes fewer at a time, so go on until `unfilled` says that none is left. A row keeps its
        version and whatever others have in columns of their own; one that changed meanwhile is left as it is by then.

        Raises:
            Replaced, Fatal, TryAgain: as `write` does.
        """
        self._merger.add_missing()
        if not {"derived", *SOURCES}.issubset(self._retried(lambda: self.lance.schema).names):
            self._merger.unfilled = False
            return 0  # they could not be added, and that was said
        rows: pa.Table = self._retried(lambda: stale_rows(self.lance, limit))
        self._merger.unfilled = rows.num_rows > 0
        if rows.num_rows:
            self._merge(filled(rows), self.fence, FILLED)
        return int(rows.num_rows)

    def give_back(self, columns: Sequence[str]) -> None:
        """Drops these columns with all their indexes, and this version's marks in the fence: an older version writes
        the table on. It is that version's then; whoever takes it over adds them again.

        Raises:
            Replaced, Fatal, TryAgain: as `write` does.
        """
        self.still_mine()
        if columns:
            self._retried(partial(self.lance.drop_columns, list(columns)))
        fence = msgspec.structs.replace(self.fence, schema=1, search=None, about=None)
        self._merger.merge(table_schema(self.rule).empty_table(), fence)

    def still_mine(self) -> None:
        """Raises Replaced when another writer has taken the table over. Ask before every step of upkeep."""
        self._merger.still_mine()

    def _newest(self, pages: Iterable[EmbeddedPage]) -> tuple[dict[str, tuple[Version, EmbeddedPage]], int]:
        newest: dict[str, tuple[Version, EmbeddedPage]] = {}
        messages = 0
        for page in pages:
            messages += 1
            version = self.fence.version(page.source)
            if page.key not in newest or newest[page.key][0] < version:
                newest[page.key] = version, page
        return newest, messages

    def _look_up(self, keys: Sequence[str]) -> dict[str, StoredPage]:
        """All rows of these pages, live or dead."""
        stored: dict[str, StoredPage] = {}
        for start in range(0, len(keys), LOOK_UP_PAGES):
            stored |= stored_pages(self._rows_of(keys[start : start + LOOK_UP_PAGES]))
        return stored

    def _rows_of(self, keys: Sequence[str]) -> pa.Table:
        condition = f"page IN ({listed(keys)})"
        query = self.lance.search().where(condition).select(["page", "id", "n", "source"])
        found: pa.Table = self._retried(query.to_arrow)
        return found

    def _remove_damaged(self, pages: Sequence[NewPage]) -> None:
        """Removes the rows of damaged pages, which the merge that follows writes anew.

        The one delete of a writer, and safe in the hands of a stale one too: it takes no row of these versions or
        newer ones, whoever wrote it, and these versions come again until a merge has them.
        """
        if pages:
            self.still_mine()
        for start in range(0, len(pages), DELETE_PAGES):
            part = pages[start : start + DELETE_PAGES]
            condition = " OR ".join(
                f"(page = {quoted(new.page.key)} AND (source < {new.version} OR source IS NULL))" for new in part
            )
            self._retried(partial(self.lance.delete, condition))
            structlog.get_logger().warning("damaged pages are written anew", table=self.name, pages=len(part))

    def _merge(self, rows: pa.Table, fence: Fence, way: Way = NEWER) -> None:
        self._merger.merge(rows, msgspec.structs.replace(fence, schema=FENCE_SCHEMA), way)

    def _retried(self, read: Callable[[], Any]) -> Any:
        return retried(read, self.name, self._merger.pause, self._merger.watch)
