"""Merges into a table, each of which moves its fence, or changes nothing at all.

LanceDB has no transactions over several rows, and a merge of a writer that slept too long may lose, win or report a
success that never happened. So each merge carries the stamp that this writer saw last, fails as a whole when the fence
has another one by now, and is believed only after the fence was read again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Set
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa
import structlog
from lancedb.table import LanceTable

from pipeline.errors import CirrostreamError, Replaced, TryAgain, WorkFailed
from pipeline.library_errors import MOST_PANICS, LibraryError, library_errors, panic_line
from pipeline.service import Watch, unwatched
from sinks.derived import FIELDS, RULES
from sinks.fence import Fence, Stamp, Stamped, new_stamp
from sinks.rows import VectorRule, fence_row, table_schema
from sinks.schema import checked, conformed
from sinks.storage import Pause, quoted, read_fence, retried, storage_fault

MERGE_TIMEOUT = timedelta(minutes=5)
ATTEMPTS = 8
MERGE_SECONDS = MERGE_TIMEOUT.total_seconds() + 30
"""Longest that one merge may take: its own time limit ends it before that, unless LanceDB hangs."""

CONDITION = "(target.n >= 0 AND ({rows})) OR (target.n < 0 AND 1 / CAST(target.stamp = source.expected AS INT) = 1)"
"""Stored rows give way as the merge says. On the fence row, a stamp that has moved divides by zero: a condition that is
merely false would keep the fence and let all other rows in, an error stops the merge, also in Lance's own retries. On
all other rows `stamp` is null, and so is the division."""


@dataclass(frozen=True, slots=True)
class Way:
    """The stored rows that give way to those of a merge, and the fate of rows that are not stored."""

    condition: str
    inserts: bool = True
    keeps_others: bool = False
    """A row gives way only while the columns of somebody else are as in the merge's own row, which was read before."""

    def where(self, others: Iterable[str]) -> str:
        """The whole condition, for a table with these columns of somebody else."""
        rows = self.condition
        if self.keeps_others:
            rows += "".join(f" AND {_same(name)}" for name in others if "`" not in name)
        return CONDITION.format(rows=rows)


NEWER = Way("source.source > target.source")
"""A stored row gives way to a newer version only."""

FILLED = Way(
    f"source.source = target.source AND (target.derived IS NULL OR target.derived < {RULES})",
    inserts=False,
    keeps_others=True,
)
"""A row gives way to itself with its derived columns made: to the same version, and only once. One that was replaced or
removed since it was read stays so."""


def overruling(pages: Set[str]) -> Way:
    """A stored row of these pages gives way to an older version too, for its own cannot be."""
    return Way(f"{NEWER.condition} OR target.page IN ({listed(pages)})") if pages else NEWER


class Merger:
    """The merges of one writer, who ends with `Replaced` when the table has another."""

    def __init__(
        self,
        lance: LanceTable,
        rule: VectorRule,
        last: Stamped,
        pause: Pause = time.sleep,
        watch: Watch = unwatched,
    ) -> None:
        self.lance = lance
        self.rule = rule
        self.last = last
        """The fence as it was last read."""
        self.unfilled = True
        """Rows may lack derived columns: at the start, and once a column was added."""
        self.pause = pause
        self.watch = watch
        self.name = str(lance.name)

    def merge(self, rows: pa.Table, fence: Fence, way: Way = NEWER) -> None:
        """One conditional merge of rows and fence, tried again as long as the fence says that nothing happened.

        Raises:
            Replaced: another writer has taken the table over.
            Fatal: the table is gone, full, or cannot be written to.
            WorkFailed: LanceDB refuses these rows, or panics over them.
            TryAgain: it did not work for minutes.
        """
        sent: set[Stamp] = set()  # a merge that timed out may land after its successor was sent
        panics = 0
        for attempt in range(ATTEMPTS):
            stamp = new_stamp()
            sent.add(stamp)
            row = fence_row(fence, stamp, self.last.stamp, self.rule)
            error = self._attempt(rows, row, way)
            found = read_fence(self.lance, self.pause, self.watch)
            if found.stamp in sent:
                self.last = found
                return
            self._check_owner(found)
            if error is not None and (fault := _final_fault(self.name, error)):
                raise fault from None
            panics += error is not None and error.panicked
            if error is not None and panics == MOST_PANICS:
                fault = panic_line(f"table {self.name}", "a merge", error)
                raise (WorkFailed(str(fault)) if rows.num_rows else fault) from None  # the rows may be what does it
            self.pause(random.uniform(0.5, 1.0) * min(10.0, 0.1 * 2**attempt))  # noqa: S311 - jitter
        last = error or "no error, and no effect"
        raise TryAgain(f"table {self.name}: {ATTEMPTS} merges came to nothing; the last: {last}")

    def still_mine(self) -> None:
        """Raises Replaced when another writer has taken the table over."""
        self._check_owner(read_fence(self.lance, self.pause, self.watch))

    def add_missing(self) -> None:
        """Adds the describing columns that the table lacks, empty; what else does so at the same time does no harm.

        Where a derived column is missing, the number of the rules that made it goes as well, so that it is made anew.

        Raises:
            Replaced: they may be missing because the table's next writer, of an older version, has no use for them.
        """
        schema = retried(lambda: self.lance.schema, self.name, self.pause, self.watch)
        missing = checked(schema, self.name, self.rule).missing
        if not missing:
            return
        self.still_mine()
        log = structlog.get_logger().bind(table=self.name, columns=[field.name for field in missing])
        try:
            with library_errors():
                if "derived" in schema.names and any(field in FIELDS for field in missing):
                    self.lance.drop_columns(["derived"])
                    missing = (*missing, table_schema(self.rule).field("derived"))
                self.lance.add_columns(pa.schema(missing))
        except LibraryError as error:
            if fault := storage_fault(self.name, error):
                raise fault from None
            log.warning("missing columns could not be added, rows are written without them", error=str(error))
        else:
            self.unfilled = True
            log.warning("columns that were missing were added, empty in the rows that were there")

    def _attempt(self, rows: pa.Table, fence: pa.Table, way: Way) -> LibraryError | None:
        """LanceDB's answer to this merge; the fence alone knows whether it happened."""
        try:
            with self.watch(f"a merge into table {self.name}", MERGE_SECONDS), library_errors():
                schema = self.lance.schema  # asked each time: its user may add a column while we write
                others = checked(schema, self.name, self.rule).extra
                whole = pa.concat_tables([conformed(rows, schema), conformed(fence, schema)])
                merge = self.lance.merge_insert("id").when_matched_update_all(where=way.where(others))
                if way.inserts:
                    merge = merge.when_not_matched_insert_all()
                merge.execute(whole, on_bad_vectors="null", timeout=MERGE_TIMEOUT)
        except LibraryError as error:
            return error
        return None

    def _check_owner(self, found: Stamped) -> None:
        if found.stamp != self.last.stamp:
            raise Replaced(f"table {self.name}: another writer has taken it over; this one ends, nothing is lost")


def listed(keys: Iterable[str]) -> str:
    """Strings as SQL has them in a list."""
    return ", ".join(map(quoted, keys))


def _same(name: str) -> str:
    """The condition that a column is as it was: LanceDB compares every type so, and knows no `IS NOT DISTINCT FROM`."""
    mine, theirs = f"source.`{name}`", f"target.`{name}`"
    return f"({theirs} = {mine} OR ({theirs} IS NULL AND {mine} IS NULL))"


def _final_fault(table: str, error: LibraryError) -> CirrostreamError | None:
    """The fault that another try of the same merge would meet again."""
    if isinstance(error.cause, ValueError) or error.says("Ambiguous merge"):
        return WorkFailed(f"table {table}: LanceDB refuses these rows, please report it: {error}")
    return storage_fault(table, error)
