"""Steps of upkeep: what each does to the table, and what it notes for the rules."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import structlog
from lancedb.index import IndexConfig, IvfRq

from pipeline.library_errors import LibraryError, library_errors
from pipeline.metrics import Metrics
from sinks.clean_up import CleanUp, clean_up, look
from sinks.indexes import KEYS, VECTOR, Found, Index, is_text
from sinks.lease_folder import NoLeases
from sinks.measure.step import Measuring
from sinks.rows import DEAD, LEFTOVER, LIVE
from sinks.storage import storage_fault
from sinks.table import Table
from sinks.table_indexes import found_indexes, texts_with_rows
from sinks.upkeep.leftovers import stale_temporary_files
from sinks.upkeep.rules import KEEP_VERSIONS, TMP_AGE_S, State, UpkeepRules, UpkeepStep, index_due
from sinks.upkeep.search_indexes import (
    damaged,
    make,
    oldest_waiting,
    rewritten,
    waiting_rows,
)

TAG_REMEDY = "in Python: lancedb.connect(URI).open_table(NAME).tags.delete(TAG); a reader takes a lease instead"

AS_MERGES = 4
"""A merge that fills rows counts as so many until the BTREEs are rebuilt: it reads what they lack, whole. 10,000 rows
took 2.9 s of processor time with a rebuild after twenty of them, 1.2 s with one after five."""


class Steps:
    """All steps on one table, as one call each."""

    def __init__(
        self,
        table: Table,
        rules: UpkeepRules,
        state: State,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        search: Callable[[Table], object] | None,
        measuring: Measuring,
    ) -> None:
        self._table = table
        self._rules = rules
        self._state = state
        self._metrics = metrics
        self._clock = clock
        self._search_table = search
        self._measuring = measuring
        self._log = structlog.get_logger().bind(table=table.name)
        self._actions: dict[UpkeepStep, Callable[[], None]] = {
            UpkeepStep.BTREE: self._btree,
            UpkeepStep.OPTIMIZE: self._optimize,
            UpkeepStep.INDEX: self._index,
            UpkeepStep.SEARCH_INDEX: self._search_index,
            UpkeepStep.SWEEP: self._sweep,
            UpkeepStep.GAUGES: self._gauges,
            UpkeepStep.MEASURE: self._measure,
            UpkeepStep.SEARCH: self._search,
            UpkeepStep.BACKFILL: self._backfill,
        }

    def do(self, step: UpkeepStep) -> None:
        """One step, whose errors are LanceDB's."""
        self._actions[step]()

    def note_waiting(self) -> None:
        """Notes that rows have come which the full-text indexes lack."""
        self._state.words_since = self._state.words_since or time.time()
        self._metrics.table_unindexed_text_since.set(self._state.words_since)

    def _btree(self) -> None:
        for index in KEYS:
            self._table.lance.create_index(index.column, config=index.config(), replace=True)
        self._state.merges = self._state.large_bytes = 0

    def _optimize(self) -> None:
        start = self._clock()
        if self._table.lance.count_rows(LEFTOVER):
            self._table.lance.delete(LEFTOVER)
        self._clean_up()
        self._state.optimized = self._clock()
        if self._state.rows:  # without any it has next to nothing to do
            self._state.optimize_took = self._state.optimized - start
        self._state.rows = self._state.fragments = 0
        self._gauges()
        # An optimize passes over a full-text index that it cannot read, without a word.
        self._state.suspects |= {found.name for found in self._state.found if is_text(found) and found.unindexed}

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
        if not index_due(self._state, self._rules, self._clock()):
            return
        config = IvfRq(distance_type=self._table.rule.metric, num_bits=4)
        self._table.lance.create_index(VECTOR, config=config, replace=True)
        self._state.trained_rows = self._state.live_rows
        self._log.info("upkeep.indexed", rows=self._state.live_rows)

    def _search_index(self) -> None:
        """Removes indexes that cannot be read, or makes the next one that is lacking."""
        if self._state.suspects:
            self._remove_damaged()
        elif index := self._state.next_index(self._clock()):
            start = self._clock()
            try:
                with library_errors():
                    make(self._table.lance, index)
            except LibraryError as error:
                self._failed(index, error)
                raise
            self._state.troubles.pop(index.column, None)
            self._log.info("upkeep.search_index", column=index.column, seconds=round(self._clock() - start, 1))
            self._look()
            if index in self._state.lacking:
                self._state.refused.add(index.column)
                self._log.warning("upkeep.search_index_refused", column=index.column, meaning="not as it was asked for")
        self._look()

    def _failed(self, index: Index, error: LibraryError) -> None:
        """Leaves the index for later, or for good: nothing but the time of searches depends on it."""
        if storage_fault(self._table.name, error):
            return
        self._state.failed(index.column, self._clock(), panicked=error.panicked)
        if index.column in self._state.refused:
            self._metrics.retry("search_index_given_up")
            self._log.error("upkeep.search_index_given_up", column=index.column, error=str(error))
            self._look()

    def _remove_damaged(self) -> None:
        found = [one for one in found_indexes(self._table.lance) if one.name in self._state.suspects]
        self._state.suspects.clear()
        for one in list(damaged(self._table.lance, found)):
            self._table.lance.drop_index(one.name)
            self._log.warning("upkeep.index_damaged", index=one.name, meaning="it cannot be read and is made anew")
            if one.column in {index.column for index in KEYS}:
                self._state.merges = max(self._state.merges, self._rules.btree_merges)
            if one.column == VECTOR:
                self._state.trained_rows = 0

    def _look(self) -> None:
        """Reads the table's indexes, and since when rows wait for them."""
        state, lance = self._state, self._table.lance
        state.columns = frozenset(lance.schema.names)
        state.look(found_indexes(lance), self._clock())
        waiting = waiting_rows(state)
        if not waiting:
            state.words_since = 0
        self._metrics.table_unindexed_text_rows.set(waiting)
        self._metrics.table_unindexed_text_since.set(state.words_since)

    def _backfill(self) -> None:
        """Makes the derived columns of some rows that an older version has written."""
        done = self._table.backfill(self._rules.backfill_rows)
        self._state.backfilled = self._clock()
        self._state.may_backfill = self._state.backfilling = self._table.unfilled
        if not done:
            return
        self._state.merges += AS_MERGES
        self._state.fragments += 1
        self._state.rows += done
        self.note_waiting()
        self._state.texts |= texts_with_rows(self._table.lance)
        self._look()

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
        self._state.table_bytes = int(_stats(self._table)["total_bytes"])
        self._metrics.table_bytes.set(self._state.table_bytes)
        self._metrics.table_unindexed_rows.set(self._unindexed_rows())
        self._metrics.table_versions.set(len(lance.list_versions()))
        self._look()
        self._state.rewritten = rewritten(self._state)
        self._measure_leases()
        self._state.measured = self._clock()

    def _unindexed_rows(self) -> int:
        """Live rows that every search must read one by one."""
        index = _vector_index(self._table)
        return self._state.live_rows if index is None else index.num_unindexed_rows or 0

    def _measure(self) -> None:
        """Starts a measurement, looks at it, or notes what it found: a moment each, for it is at work elsewhere."""
        if self._measuring.starts:
            self._state.live_rows = self._table.lance.count_rows(LIVE)
        if self._measuring.turn(self._table, self._state.live_rows):
            self._state.merges += 1
            self._state.fragments += 1

    def _search(self) -> None:
        """One search as a reader's, so that their latency is known when none of them serves metrics.

        Not while it would read more rows than a table without index may have: in the midst of a load.
        """
        start = self._clock()
        if self._search_table is not None and self._unindexed_rows() <= self._rules.index_rows:
            with self._metrics.timed(UpkeepStep.SEARCH.value):
                self._search_table(self._table)
        took = self._clock() - start
        self._state.next_search = start + max(self._rules.search_seconds, took / self._rules.search_share)


def state_at_start(table: Table, rules: UpkeepRules, now: float) -> State:
    """The work that the writer before has left, as far as the table tells."""
    found = {tuple(index.columns): index for index in table.lance.list_indices()}
    state = State(changed=now, optimized=now, may_backfill=True)
    if any((index.column,) not in found or found[(index.column,)].num_unindexed_rows for index in KEYS):
        state.merges = rules.btree_merges
    if (VECTOR,) in found and _has_metric(table, found[(VECTOR,)]):
        state.trained_rows = max(1, found[(VECTOR,)].num_indexed_rows or 0)
        state.rows = found[(VECTOR,)].num_unindexed_rows or 0
    state.live_rows = table.lance.count_rows(LIVE)
    state.columns, state.texts = frozenset(table.lance.schema.names), texts_with_rows(table.lance)
    state.look(map(Found.of, found.values()), now)
    state.rows = max(state.rows, *(one.unindexed for one in state.found if is_text(one)), 0)
    if waiting_rows(state):
        state.words_since = oldest_waiting(table.lance) or time.time()
    state.fragments = fragments(table)
    return state


def _vector_index(table: Table) -> IndexConfig | None:
    return next((index for index in table.lance.list_indices() if index.columns == [VECTOR]), None)


def _has_metric(table: Table, index: IndexConfig) -> bool:
    """True when searches can use the index: LanceDB reads every row where it was trained for another metric."""
    stats = table.lance.index_stats(index.name)
    return stats is not None and stats.distance_type == table.rule.metric


def fragments(table: Table) -> int:
    """Fragments of the table's newest version."""
    return int(_stats(table)["fragment_stats"]["num_fragments"])


def _stats(table: Table) -> dict[str, Any]:
    stats: Any = table.lance.stats()  # a mapping, though its annotation says otherwise
    return cast("dict[str, Any]", stats)
