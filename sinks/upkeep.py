"""Upkeep: what keeps a table fast and small, done by its writer between two batches.

Never in another process: a compaction next to merges that touch the same rows failed 16 of 16 times. Every step reads
the fence first. A step that fails is tried again later, for nothing depends on it; only a full disk is fatal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import structlog
from lancedb.index import BTree, IndexConfig, IvfRq

from pipeline.errors import TryAgain
from pipeline.library_errors import MOST_PANICS, LibraryError, library_errors, panic_line
from pipeline.metrics import Metrics
from pipeline.service import Watch, unwatched
from pipeline.settings import MIB
from sinks.clean_up import CleanUp, clean_up, look
from sinks.lease_folder import NoLeases
from sinks.row_bytes import BYTES_PER_ROW
from sinks.rows import DEAD, LEFTOVER, LIVE
from sinks.storage import retried, storage_fault
from sinks.table import MERGE_TIMEOUT, Table, Written

KEEP_VERSIONS = max(timedelta(hours=1), 4 * MERGE_TIMEOUT)
"""Lance checks a merge for conflicts only against versions that still exist: with younger ones cleaned up, a writer
that slept wrote 300 rows twice."""

TMP_AGE_S = 24 * 3600.0
RETRY_S = 60.0
TAG_REMEDY = "in Python: lancedb.connect(URI).open_table(NAME).tags.delete(TAG); a reader takes a lease instead"
IDLE_S = 5.0
STEP_SECONDS = 4 * 3600.0
"""Longest that a step may take. An index over 100 million vectors takes an hour on 16 cores."""


@dataclass(frozen=True, slots=True)
class UpkeepRules:
    """When a step is due. Rows count as often as they are written, dead ones too."""

    btree_merges: int = 20
    """Merges that the two BTREEs may miss: at 200 a merge takes 15 times as long, a rebuild takes 0.1 to 0.4 s."""
    btree_large_bytes: int = 96 * MIB
    """And bytes of large rows: a merge reads what a BTREE lacks, whole, which takes twice its size in memory."""
    optimize_rows: int = 200_000
    optimize_share: float = 0.5
    """And no sooner than after so many of the live rows: a table that grows by half between two is written over
    three times in all, and its vector index is brought up to date as seldom."""
    optimize_merges: int = 300
    """Each merge leaves a fragment, and every read opens all of them."""
    optimize_seconds: float = 900
    idle_rows: int = 20_000
    """Rows that are worth an optimize as soon as nothing else is to do."""
    index_rows: int = 100_000
    """Live rows from which on a vector index pays: below, an exact search takes less than 0.1 s."""
    retrain_factor: float = 4
    """Growth after which the index is trained anew: one that grew by optimize alone has partitions of unlike size."""
    lease_share: float = 1.0
    """Bytes that old versions may take which readers have leases on, as a share of the table's."""
    gauge_seconds: float = 60
    search_seconds: float = 60
    search_share: float = 0.005
    """Of the writer's time, at most, for searches that nobody asked for."""


class Step(Enum):
    """A step of upkeep, the more urgent first."""

    BTREE = "btree"
    OPTIMIZE = "optimize"
    INDEX = "index"
    SWEEP = "sweep"
    GAUGES = "gauges"
    SEARCH = "search"


@dataclass(slots=True)
class State:
    """What has happened since which step; times are monotonic seconds, -inf for never."""

    merges: int = 0
    """Merges since the last rebuild of the BTREEs."""
    large_bytes: int = 0
    """Of the rows of these merges, what they had in memory beyond `BYTES_PER_ROW` each."""
    rows: int = 0
    """Rows written since the last optimize."""
    fragments: int = 0
    """Merges since the last optimize."""
    changed: float = float("-inf")
    optimized: float = float("-inf")
    swept: float = float("-inf")
    measured: float = float("-inf")
    next_search: float = float("inf")
    live_rows: int = 0
    leases: int = 0
    """Leases that held old versions at the last clean-up: when they have ended, it is due again."""
    trained_rows: int = 0
    """Live rows when the vector index was trained; 0: there is none."""
    later: dict[Step, float] = field(default_factory=dict)
    """Steps that failed, and when to try again."""
    panics: dict[Step, int] = field(default_factory=dict)
    """How often in a row LanceDB has panicked in a step."""


def due(state: State, rules: UpkeepRules, now: float) -> Step | None:
    """The most urgent step to do now, if any: one that failed waits its turn. Pure."""
    return next((step for step in all_due(state, rules, now) if state.later.get(step, now) <= now), None)


def all_due(state: State, rules: UpkeepRules, now: float) -> list[Step]:
    """All steps that are due, the most urgent first, those that failed among them. Pure."""
    conditions = {
        Step.BTREE: _btree_due(state, rules, now),
        Step.OPTIMIZE: _optimize_due(state, rules, now),
        Step.INDEX: _index_due(state, rules),
        Step.SWEEP: now - state.swept >= TMP_AGE_S,
        Step.GAUGES: now - state.measured >= rules.gauge_seconds and state.changed >= state.measured,
        Step.SEARCH: now >= state.next_search and state.live_rows > 0,
    }
    return [step for step, is_due in conditions.items() if is_due]


def _btree_due(state: State, rules: UpkeepRules, now: float) -> bool:
    if state.large_bytes >= rules.btree_large_bytes:
        return True
    idle = now - state.changed >= IDLE_S
    return state.merges >= (max(1, rules.btree_merges // 4) if idle else rules.btree_merges)


def _index_due(state: State, rules: UpkeepRules) -> bool:
    return state.live_rows >= max(rules.index_rows, rules.retrain_factor * state.trained_rows)


def _optimize_due(state: State, rules: UpkeepRules, now: float) -> bool:
    since = now - state.optimized
    enough = max(rules.optimize_rows, rules.optimize_share * state.live_rows)
    if state.rows >= enough or state.fragments >= rules.optimize_merges:
        return True
    if (state.rows or state.leases) and since >= rules.optimize_seconds:
        return True
    if now - state.changed >= IDLE_S and state.rows >= rules.idle_rows:
        return True
    # Old versions are cleaned up by optimize: once more when the last of them has come of age.
    old = state.changed + KEEP_VERSIONS.total_seconds()
    return state.optimized <= old <= now


class Upkeep:
    """Does what is due on one table, a step a call, so that the loop turns in between."""

    def __init__(
        self,
        table: Table,
        rules: UpkeepRules,
        metrics: Metrics,
        watch: Watch = unwatched,
        *,
        clock: Callable[[], float] = time.monotonic,
        search: Callable[[Table], object] | None = None,
    ) -> None:
        self._table = table
        self._rules = rules
        self._search_table = search
        self._metrics = metrics
        self._watch = watch
        self._clock = clock
        self._log = structlog.get_logger().bind(table=table.name)
        self._state = retried(self._at_start, table.name)
        self._actions: dict[Step, Callable[[], None]] = {
            Step.BTREE: self._btree,
            Step.OPTIMIZE: self._optimize,
            Step.INDEX: self._index,
            Step.SWEEP: self._sweep,
            Step.GAUGES: self._gauges,
            Step.SEARCH: self._search,
        }
        self._due_since = dict.fromkeys(Step, 0.0)
        for step in Step:
            metrics.upkeep_due_since[step.value].set(0)

    def wrote(self, written: Written) -> None:
        """Takes note of a merge."""
        self._state.merges += 1
        usual = BYTES_PER_ROW * (written.rows + written.dead_rows)
        self._state.large_bytes += max(0, written.bytes - usual)
        self._state.fragments += 1
        self._state.rows += written.rows + written.dead_rows
        self._state.changed = self._clock()
        self._state.live_rows += written.rows

    def turn(self) -> Step | None:
        """Does the step that is due, if one is, and says which.

        Raises:
            Replaced: another writer has taken the table over.
            Fatal: the disk is full.
        """
        self._note_due()
        step = due(self._state, self._rules, self._clock())
        if step is not None:
            self.do(step)
            self._note_due()
        return step

    def do(self, step: Step) -> None:
        """One step, whether it is due or not."""
        self._table.still_mine()
        try:
            # A search times itself: while too many rows lack the index, none is made.
            timed = nullcontext() if step is Step.SEARCH else self._metrics.timed(step.value)
            watched = self._watch(f"upkeep of table {self._table.name}: {step.value}", STEP_SECONDS)
            with timed, watched, library_errors():
                self._actions[step]()
        except (LibraryError, TryAgain) as error:
            self._put_off(step, error)
        else:
            self._state.later.pop(step, None)
            self._state.panics.pop(step, None)
            self._metrics.upkeep_last_success[step.value].set(time.time())

    def _put_off(self, step: Step, error: LibraryError | TryAgain) -> None:
        """Leaves the step for later, unless somebody must act, or LanceDB panics over it again and again."""
        if isinstance(error, LibraryError):
            if fault := storage_fault(self._table.name, error):
                raise fault from None
            self._state.panics[step] = self._state.panics.get(step, 0) + 1 if error.panicked else 0
            if self._state.panics[step] >= MOST_PANICS:
                raise panic_line(f"table {self._table.name}", f"upkeep, step {step.value},", error) from None
        self._state.later[step] = self._clock() + RETRY_S
        self._metrics.retry(step.value)
        self._log.warning("upkeep.later", step=step.value, error=str(error)[:300])

    def _note_due(self) -> None:
        """Since when each step is due, a step that keeps failing included: nothing else tells that upkeep is behind."""
        now_due = all_due(self._state, self._rules, self._clock())
        for step, since in self._due_since.items():
            if (step in now_due) != bool(since):
                self._due_since[step] = time.time() if step in now_due else 0.0
                self._metrics.upkeep_due_since[step.value].set(self._due_since[step])

    def _at_start(self) -> State:
        """What the writer before left to do, as far as the table tells."""
        found = {tuple(index.columns): index for index in self._table.lance.list_indices()}
        state = State(changed=self._clock(), optimized=self._clock())
        if any((column,) not in found or found[(column,)].num_unindexed_rows for column in ("id", "page")):
            state.merges = self._rules.btree_merges
        if ("vector",) in found and self._has_metric(found[("vector",)]):
            state.trained_rows = max(1, found[("vector",)].num_indexed_rows or 0)
            state.rows = found[("vector",)].num_unindexed_rows or 0
        state.live_rows = self._table.lance.count_rows(LIVE)
        state.fragments = fragments(self._table)
        if self._search_table is not None:
            state.next_search = self._clock() + self._rules.search_seconds
        return state

    def _vector_index(self) -> IndexConfig | None:
        return next((index for index in self._table.lance.list_indices() if index.columns == ["vector"]), None)

    def _has_metric(self, index: IndexConfig) -> bool:
        """True when searches can use the index: LanceDB reads every row where it was trained for another metric."""
        stats = self._table.lance.index_stats(index.name)
        return stats is not None and stats.distance_type == self._table.rule.metric

    def _btree(self) -> None:
        for column in ("id", "page"):
            self._table.lance.create_index(column, config=BTree(), replace=True)
        self._state.merges = self._state.large_bytes = 0

    def _optimize(self) -> None:
        if self._table.lance.count_rows(LEFTOVER):
            self._table.lance.delete(LEFTOVER)
        self._clean_up()
        self._state.rows = self._state.fragments = 0
        self._state.optimized = self._clock()
        self._gauges()

    def _clean_up(self) -> None:
        """Compacts, and removes old versions. A tag that somebody has set keeps Lance from removing any: that is said,
        and not tried again every minute, for the table is compacted by then.
        """
        try:
            self._note_leases(clean_up(self._table.lance, KEEP_VERSIONS, self._rules.lease_share))
        except RuntimeError as error:
            if "tagged version" not in str(error):
                raise
            tags = sorted(self._table.lance.tags.list())
            self._log.warning("upkeep.tagged", tags=tags, meaning="no old version is removed", remedy=TAG_REMEDY)

    def _note_leases(self, done: CleanUp) -> None:
        """Tells what leases keep, and which of them this clean-up has ended."""
        self._state.leases = done.leases
        if done.leases:
            self._log.info("upkeep.leases", leases=done.leases, bytes=done.bytes)
        for held in done.ended:
            self._metrics.lease_ended("too_large")
            self._log.warning("upkeep.lease_ended", holder=held.lease.holder, version=held.lease.version)
        for name, why in done.void:
            self._metrics.lease_ended(why.partition(":")[0])
            self._log.info("upkeep.lease_void", file=name, why=why)
        if done.unreadable:
            self._log.warning("upkeep.leases_unreadable", error=done.unreadable)

    def _measure_leases(self) -> None:
        """Every minute, not at each clean-up alone: the first may come a quarter of an hour after the start."""
        with suppress(NoLeases):  # the clean-up says so
            found = look(self._table.lance, KEEP_VERSIONS)
            self._metrics.table_leases.set(found.leases)
            self._metrics.table_leased_bytes.set(found.bytes)

    def _index(self) -> None:
        """IVF_RQ with 4 bits: 500,000 x 384 in 16 s, recall@10 0.956 with 20 probes and refine factor 5 in 7 ms."""
        self._state.live_rows = self._table.lance.count_rows(LIVE)
        if not _index_due(self._state, self._rules):
            return
        config = IvfRq(distance_type=self._table.rule.metric, num_bits=4)
        self._table.lance.create_index("vector", config=config, replace=True)
        self._state.trained_rows = self._state.live_rows
        self._log.info("upkeep.indexed", rows=self._state.live_rows)

    def _sweep(self) -> None:
        for path in stale_temporary_files(self._table.location, time.time() - TMP_AGE_S):
            path.unlink(missing_ok=True)
        self._state.swept = self._clock()

    def _gauges(self) -> None:
        lance = self._table.lance
        self._state.live_rows = lance.count_rows(LIVE)
        self._metrics.table_rows.set(self._state.live_rows)
        self._metrics.table_dead_rows.set(lance.count_rows(DEAD))
        self._metrics.table_fragments.set(fragments(self._table))
        self._metrics.table_bytes.set(_stats(self._table)["total_bytes"])
        self._metrics.table_unindexed_rows.set(self._unindexed_rows())
        self._metrics.table_versions.set(len(lance.list_versions()))
        self._measure_leases()
        self._state.measured = self._clock()

    def _unindexed_rows(self) -> int:
        """Live rows that every search must read one by one."""
        index = self._vector_index()
        return self._state.live_rows if index is None else index.num_unindexed_rows or 0

    def _search(self) -> None:
        """One search as a reader's, so that their latency is known when none of them serves metrics.

        Not while it would read more rows than a table without index may have: in the midst of a load.
        """
        start = self._clock()
        if self._search_table is not None and self._unindexed_rows() <= self._rules.index_rows:
            with self._metrics.timed(Step.SEARCH.value):
                self._search_table(self._table)
        took = self._clock() - start
        self._state.next_search = start + max(self._rules.search_seconds, took / self._rules.search_share)


def fragments(table: Table) -> int:
    """Fragments of the table's newest version."""
    return int(_stats(table)["fragment_stats"]["num_fragments"])


def _stats(table: Table) -> dict[str, Any]:
    stats: Any = table.lance.stats()  # a mapping, though its annotation says otherwise
    return cast("dict[str, Any]", stats)


def stale_temporary_files(uri: str, before: float) -> list[Path]:
    """What killed writers left behind in a table on local disk: `.tmp*` in `data`, last touched before this time.

    Nothing else removes them: 20 kills left 1.7 GB.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file"):
        return []
    found = Path(parts.path if parts.scheme else uri, "data").glob(".tmp*")
    return [path for path in found if path.is_file() and path.stat().st_mtime < before]
