"""Turns of upkeep: the step that is due, done or put off, and what is known of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext

import structlog

from pipeline.errors import TryAgain
from pipeline.library_errors import MOST_PANICS, LibraryError, library_errors, panic_line
from pipeline.metrics import Metrics
from pipeline.service import Watch, unwatched
from sinks.indexes import TAIL_ROWS
from sinks.measure.step import Measuring, Seen
from sinks.row_bytes import BYTES_PER_ROW
from sinks.storage import retried, storage_fault
from sinks.table import Table, Written
from sinks.upkeep.rules import IDLE_S, RETRY_S, UpkeepRules, UpkeepStep, all_due, due, index_due, searchable
from sinks.upkeep.search_indexes import may_be_damage
from sinks.upkeep.steps import Steps, state_at_start

SPARED = (UpkeepStep.SEARCH_INDEX, UpkeepStep.MEASURE)
"""Steps that never end the process, however often LanceDB panics in them: rows are written and found without."""
STEP_SECONDS = 4 * 3600.0
"""Longest that a step may take. An index over 100 million vectors takes an hour on 16 cores."""


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
        measuring: Measuring | None = None,
    ) -> None:
        self._table = table
        self._rules = rules
        self._metrics = metrics
        self._watch = watch
        self._measuring = measuring or Measuring(None, metrics)
        self._clock = clock
        self._log = structlog.get_logger().bind(table=table.name)
        self._state = retried(lambda: state_at_start(table, rules, clock()), table.name)
        if search is not None:
            self._state.next_search = clock() + rules.search_seconds
        self._steps = Steps(table, rules, self._state, metrics, clock=clock, search=search, measuring=self._measuring)
        if table.fence.search is not None:
            self._measuring.show(table.fence.search)
        self._due_since = dict.fromkeys(UpkeepStep, 0.0)
        for step in UpkeepStep:
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
        self._state.last_rows = written.rows + written.dead_rows
        self._state.may_backfill |= self._table.unfilled  # a column that somebody dropped was added again
        if written.rows and (self._state.rows > TAIL_ROWS or self._state.lacking):
            self._steps.note_waiting()
        if not written.texts <= self._state.texts:
            self._state.texts |= written.texts
            self._state.look(self._state.found, self._clock())

    def turn(self) -> UpkeepStep | None:
        """Does the step that is due, if one is, and says which.

        Raises:
            Replaced: another writer has taken the table over.
            Fatal: the disk is full.
        """
        self._look_at_measurements()
        self._note_due()
        step = due(self._state, self._rules, self._clock())
        if step is not None:
            self.do(step)
            self._note_due()
        return step

    def do(self, step: UpkeepStep) -> None:
        """One step, whether it is due or not."""
        self._table.still_mine()
        try:
            # A search times itself: while too many rows lack the index, none is made.
            timed = nullcontext() if step is UpkeepStep.SEARCH else self._metrics.timed(step.value)
            watched = self._watch(f"upkeep of table {self._table.name}: {step.value}", STEP_SECONDS)
            with timed, watched, library_errors():
                self._steps.do(step)
        except (LibraryError, TryAgain) as error:
            self._put_off(step, error)
        else:
            self._state.later.pop(step, None)
            self._state.panics.pop(step, None)
            self._metrics.upkeep_last_success[step.value].set(time.time())

    def _put_off(self, step: UpkeepStep, error: LibraryError | TryAgain) -> None:
        """Leaves the step for later, unless somebody must act, or LanceDB panics over it again and again."""
        if isinstance(error, LibraryError):
            if fault := storage_fault(self._table.name, error):
                raise fault from None
            if may_be_damage(error):
                self._state.suspects |= {found.name for found in self._state.found}
            self._state.panics[step] = self._state.panics.get(step, 0) + 1 if error.panicked else 0
            if self._state.panics[step] >= MOST_PANICS and step not in SPARED:
                raise panic_line(f"table {self._table.name}", f"upkeep, step {step.value},", error) from None
        self._state.later[step] = self._clock() + RETRY_S
        self._metrics.retry(step.value)
        self._log.warning("upkeep.later", step=step.value, error=str(error))

    def close(self) -> None:
        """Ends what is at work beside the writer."""
        self._measuring.end()

    def _look_at_measurements(self) -> None:
        """Notes whether a measurement is due, and tells whether the table is all that searches want of it."""
        now, measured = self._clock(), self._table.fence.search
        seen = Seen(
            rows=self._state.live_rows,
            idle=now - self._state.changed >= IDLE_S,
            ready=searchable(self._state) and not index_due(self._state, self._rules, self._clock()),
            vector_index=self._state.trained_rows > 0,
        )
        self._state.measure = self._measuring.due(seen, measured)
        self._metrics.search_ready.set(seen.ready and self._measuring.settled(seen, measured))

    def _note_due(self) -> None:
        """Since when each step is due, a step that keeps failing included: nothing else tells that upkeep is behind."""
        now_due = all_due(self._state, self._rules, self._clock())
        for step, since in self._due_since.items():
            if (step in now_due) != bool(since):
                self._due_since[step] = time.time() if step in now_due else 0.0
                self._metrics.upkeep_due_since[step.value].set(self._due_since[step])
