"""The table, as its one writer sees it: every change is one merge that moves the fence, or no change at all.

LanceDB has no transactions over several rows, and a merge of a writer that slept too long may lose, win or report a
success that never happened. So each merge carries the stamp that this writer saw last, fails as a whole when the fence
has another one by now, and is believed only after the fence was read again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import lancedb
import msgspec
import pyarrow as pa
import structlog
from lancedb.table import LanceTable

from pipeline.errors import CirrostreamError, Replaced, TryAgain, WorkFailed
from pipeline.library_errors import MOST_PANICS, LibraryError, library_errors, panic_line
from pipeline.records import EmbeddedPage
from pipeline.service import Watch, unwatched
from sinks.fence import FENCE_SCHEMA, Fence, Stamp, Stamped, Version, new_stamp, refuse_other_model
from sinks.rows import NewPage, StoredPage, VectorRule, fence_row, page_rows, stored_pages, table_schema
from sinks.schema import checked, conformed
from sinks.storage import Pause, no_answer, open_table, quoted, read_fence, retried, storage_fault

MERGE_TIMEOUT = timedelta(minutes=5)
ATTEMPTS = 8
MERGE_SECONDS = MERGE_TIMEOUT.total_seconds() + 30
"""Longest that one merge may take: its own time limit ends it before that, unless LanceDB hangs."""

TAKE_OVER_SECONDS = 10.0
LOOK_UP_PAGES = 1_000
"""Pages asked for in one filter; the index answers each in about 20 microseconds."""
DELETE_PAGES = 100

CONDITION = "(target.n >= 0 AND ({newer})) OR (target.n < 0 AND 1 / CAST(target.stamp = source.expected AS INT) = 1)"
"""A stored row gives way to a newer version only. On the fence row, a stamp that has moved divides by zero: a condition
that is merely false would keep the fence and let all other rows in, an error stops the merge, also in Lance's own
retries. On all other rows `stamp` is null, and so is the division."""

Impossible = Callable[[Version, int], bool]
"""Whether no page in this partition of `pages` can have this version: a forged source got into the table."""


@dataclass(frozen=True, slots=True)
class Written:
    """What one `write` did."""

    pages: int
    stale: int
    """Pages left out, for the table or the batch itself has the same version or a newer one."""
    rows: int
    dead_rows: int
    bytes: int = 0
    """Of all these rows in memory; on disk texts take less."""


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
        self._read = read
        self._pause = pause
        self._watch = watch
        self.merges = 0

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
        return self._read.fence

    @classmethod
    def create(
        cls, database: lancedb.DBConnection, name: str, fence: Fence, rule: VectorRule, *, watch: Watch = unwatched
    ) -> Table:
        """Makes the table with its fence row; the loser of a race takes over what the winner made.

        Raises:
            Fatal: the place cannot be written to.
        """
        row = fence_row(fence, new_stamp(), None, rule)
        try:
            with library_errors():
                database.create_table(name, row, mode="create", on_bad_vectors="null")
        except LibraryError as error:
            if "already exists" not in str(error):
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
        lance = open_table(database, name)
        deadline = time.monotonic() + TAKE_OVER_SECONDS
        while True:
            read = read_fence(lance, watch=watch)
            refuse_other_model(read.fence, mine, name)
            table = cls(lance, rule, read, watch=watch)
            try:
                table._merge(table_schema(rule).empty_table(), change(read.fence))
                table._add_missing()
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

        The pages must have passed `rows.fault`, and their sources' topics must be in the fence's list. A newer version
        that is `impossible` gives way to them: it would win for good, against a repair too.

        Raises:
            Replaced: another writer took the table over; nothing of this batch is in it.
            Fatal: the table is gone, full, or cannot be written to.
            TryAgain: it did not work for minutes.
        """
        self._add_missing()
        newest, messages = self._newest(pages)
        stored = self._look_up(list(newest))
        overruled = {
            key
            for key, (version, page) in newest.items()
            if key in stored
            and stored[key].version > version
            and impossible(stored[key].version, page.source.partition)
        }
        fresh = [_against(page, version, stored.get(key), key in overruled) for key, (version, page) in newest.items()]
        new = [page for page in fresh if page is not None]
        self._remove_damaged([page for page in new if page.page.key in stored and stored[page.page.key].damaged])
        rows = page_rows(new, self.rule)
        self._merge(rows, self.fence.moved(next_offsets), overruled)
        dead = sum(len(page.dead) for page in new)
        return Written(len(new), messages - len(new), rows.num_rows - dead, dead, rows.nbytes)

    def note(self, change: Callable[[Fence], Fence]) -> None:
        """Writes a changed fence and no rows: what upkeep has measured, say.

        Raises:
            Replaced, Fatal, TryAgain: as `write` does.
        """
        self._merge(table_schema(self.rule).empty_table(), change(self.fence))

    def still_mine(self) -> None:
        """Raises Replaced when another writer has taken the table over. Ask before every step of upkeep."""
        self._check_owner(read_fence(self.lance, self._pause, self._watch))

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
        condition = f"page IN ({_listed(keys)})"
        query = self.lance.search().where(condition).select(["page", "id", "n", "source"])
        found: pa.Table = retried(query.to_arrow, self.name, self._pause, self._watch)
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
            retried(partial(self.lance.delete, condition), self.name, self._pause, self._watch)
            structlog.get_logger().warning("damaged pages are written anew", table=self.name, pages=len(part))

    def _merge(self, rows: pa.Table, fence: Fence, overruled: Set[str] = frozenset()) -> None:
        """One conditional merge of rows and fence, tried again as long as the fence says that nothing happened."""
        fence = msgspec.structs.replace(fence, schema=FENCE_SCHEMA)
        sent: set[Stamp] = set()  # a merge that timed out may land after its successor was sent
        panics = 0
        for attempt in range(ATTEMPTS):
            stamp = new_stamp()
            sent.add(stamp)
            row = fence_row(fence, stamp, self._read.stamp, self.rule)
            error = self._attempt(pa.concat_tables([rows, row]), overruled)
            found = read_fence(self.lance, self._pause, self._watch)
            if found.stamp in sent:
                self._read = found
                self.merges += 1
                return
            self._check_owner(found)
            if error is not None and (fault := _final_fault(self.name, error)):
                raise fault from None
            panics += error is not None and error.panicked
            if error is not None and panics == MOST_PANICS:
                fault = panic_line(f"table {self.name}", "a merge", error)
                raise (WorkFailed(str(fault)) if rows.num_rows else fault) from None  # the rows may be what does it
            self._pause(random.uniform(0.5, 1.0) * min(10.0, 0.1 * 2**attempt))  # noqa: S311 - jitter
        last = error or "no error, and no effect"
        raise TryAgain(f"table {self.name}: {ATTEMPTS} merges came to nothing; the last: {last}")

    def _attempt(self, rows: pa.Table, overruled: Set[str]) -> LibraryError | None:
        """What LanceDB says of this merge; the fence alone knows whether it happened."""
        try:
            with self._watch(f"a merge into table {self.name}", MERGE_SECONDS), library_errors():
                schema = self.lance.schema  # asked each time: its user may add a column while we write
                checked(schema, self.name, self.rule)
                (
                    self.lance.merge_insert("id")
                    .when_matched_update_all(where=_condition(overruled))
                    .when_not_matched_insert_all()
                    .execute(conformed(rows, schema), on_bad_vectors="null", timeout=MERGE_TIMEOUT)
                )
        except LibraryError as error:
            return error
        return None

    def _add_missing(self) -> None:
        """Adds the describing columns that the table lacks, empty; what else does so at the same time does no harm."""
        schema = retried(lambda: self.lance.schema, self.name, self._pause, self._watch)
        missing = checked(schema, self.name, self.rule).missing
        if not missing:
            return
        log = structlog.get_logger().bind(table=self.name, columns=[field.name for field in missing])
        try:
            with library_errors():
                self.lance.add_columns(pa.schema(missing))
        except LibraryError as error:
            if fault := storage_fault(self.name, error):
                raise fault from None
            log.warning("missing columns could not be added, rows are written without them", error=str(error))
        else:
            log.warning("columns that were missing were added, empty in the rows that were there")

    def _check_owner(self, found: Stamped) -> None:
        if found.stamp != self._read.stamp:
            raise Replaced(f"table {self.name}: another writer has taken it over; this one ends, nothing is lost")


def _final_fault(table: str, error: LibraryError) -> CirrostreamError | None:
    """The fault that another try of the same merge would meet again."""
    if isinstance(error.cause, ValueError) or "Ambiguous merge" in str(error):
        return WorkFailed(f"table {table}: LanceDB refuses these rows, please report it: {error}")
    return storage_fault(table, error)


def _condition(overruled: Set[str]) -> str:
    """The condition for replacing a stored row: also by an older version, in pages whose stored one cannot be."""
    newer = "source.source > target.source"
    return CONDITION.format(newer=f"{newer} OR target.page IN ({_listed(overruled)})" if overruled else newer)


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(map(quoted, keys))


def _against(page: EmbeddedPage, version: Version, stored: StoredPage | None, overruled: bool) -> NewPage | None:
    """The page with the chunks it must bury, or None when the table has this version or a newer one."""
    if stored is not None and stored.version >= version and not overruled:
        return None
    if stored is None or stored.damaged:
        return NewPage(page, version)
    return NewPage(page, version, tuple(sorted(stored.numbers - set(range(len(page.spans))))))
