"""Upkeep's measuring: when it is due, a process for it, and what it finds into the fence. The writer never waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import msgspec
import structlog

from pipeline.metrics import Metrics
from sinks.fence import Fence
from sinks.measure.process import MeasurementFailed
from sinks.measure.rules import RULES, TARGET_RECALL
from sinks.measured import Measured

LOOK_SECONDS = 1.0
"""Between two looks at the process: each reads the fence first, as every step of upkeep does."""


PAUSE_SECONDS = 60.0
"""Between two measurements, at least."""


class Running(Protocol):
    """A measurement at work (`process.MeasureProcess`)."""

    def poll(self) -> Measured | None: ...

    def end(self) -> None: ...


class Noted(Protocol):
    """The table, as far as this needs it."""

    @property
    def fence(self) -> Fence: ...

    def note(self, change: Callable[[Fence], Fence]) -> None: ...


@dataclass(frozen=True, slots=True)
class MeasureRules:
    """The rule for when a table is measured."""

    every_seconds: float = 24 * 3600
    """The quality is watched: it may change with the pages, too."""
    factor: float = 1.25
    """Growth of the rows after which an idle table is measured anew: among few pages the weaker leg looks better than
    it is (Turkish: a weight of .45 at 203 rows, .22 at 604)."""
    busy_factor: float = 4
    """And one in the midst of a load, which has better things to do."""
    patience_seconds: float = 900
    """A table that is never idle is measured after so long all the same."""
    retry_seconds: float = 3600
    """After a failure; twice that after the next, and so on, up to `every_seconds`."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The table as upkeep sees it."""

    rows: int
    """Live ones."""
    idle: bool
    ready: bool
    """True when derived columns and indexes are there: a measurement before that would be one of another table."""
    vector_index: bool


class Measuring:
    """The measurements of one table: at most one at a time, and what became of them."""

    def __init__(
        self,
        start: Callable[[], Running] | None,
        metrics: Metrics,
        rules: MeasureRules | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`start` is None where measuring is switched off."""
        self._start = start
        self._metrics = metrics
        self._rules = rules or MeasureRules()
        self._clock = clock
        self._wall = wall
        self._log = structlog.get_logger()
        self._running: Running | None = None
        self._found: Measured | None = None
        """Measured and not yet in the fence."""
        self._failures = 0
        self._looked = self._not_before = float("-inf")
        self._wanted_since: float | None = None
        self._seen: Seen | None = None

    @property
    def starts(self) -> bool:
        """True when the next turn starts a process, unless the table turns out to need none."""
        return self._running is None and self._found is None

    def due(self, seen: Seen, measured: Measured | None) -> bool:
        """True when `turn` has something to do: a process to start or to look at, or a result to note."""
        self._seen = seen
        if self._start is None:
            return False
        now = self._clock()
        if self._found is not None:
            return True
        if self._running is not None:
            return now - self._looked >= LOOK_SECONDS
        reason = reason_to_measure(seen, measured, self._rules, self._wall())
        if not reason:
            self._wanted_since = None
            return False
        if self._wanted_since is None:
            self._wanted_since = now
        waited = now - self._wanted_since >= self._rules.patience_seconds
        return now >= self._not_before and (waited or (seen.idle and seen.ready))

    def settled(self, seen: Seen, measured: Measured | None) -> bool:
        """True when nothing more is to come: the table is measured as it is now, or that is off or has failed."""
        if self._start is None or not seen.rows:
            return True
        if self._running is not None or self._found is not None:
            return False
        at_rest = replace(seen, idle=True)  # it soon will be, and is measured then
        return self._failures > 0 or not reason_to_measure(at_rest, measured, self._rules, self._wall())

    def show(self, measured: Measured) -> None:
        """Sets the gauges: after a measurement, and at the writer's start to what the fence says."""
        self._metrics.search_measured.set(since_epoch(measured.at))
        if measured.recall is not None:
            self._metrics.index_recall.set(measured.recall)
        for search, quality in measured.quality.items():
            self._metrics.search_recall[search].set(quality.recall)
            self._metrics.search_ndcg[search].set(quality.ndcg)

    def turn(self, table: Noted, rows: int | None = None) -> bool:
        """Starts the process, looks at it, or notes what it has found; True when it has merged that.

        Args:
            rows: live ones, counted: what upkeep has seen is a sum in which a page written anew counts twice.

        Raises:
            Replaced, Fatal, TryAgain: the table cannot be noted; the result is kept for the next turn.
        """
        if self._found is None:
            self._found = self._look(table.fence.search, rows)
        if self._found is None:
            return False
        found = self._found
        table.note(lambda fence: msgspec.structs.replace(fence, search=found))
        self._found = None
        self._done(found)
        return True

    def end(self) -> None:
        """Ends the process, if there is one: the writer ends."""
        if self._running is not None:
            self._running.end()
            self._running = None

    def _look(self, measured: Measured | None, rows: int | None) -> Measured | None:
        try:
            if self._running is None:
                if rows is not None and self._seen is not None:
                    counted = replace(self._seen, rows=rows)
                    if not reason_to_measure(counted, measured, self._rules, self._wall()):
                        return None
                assert self._start is not None  # noqa: S101 - `due` has seen to it
                self._running = self._start()
                return None
            self._looked = self._clock()
            found = self._running.poll()
        except (MeasurementFailed, OSError) as error:
            self._failed(error)
            return None
        if found is not None:
            self._running = None
        return found

    def _failed(self, error: MeasurementFailed | OSError) -> None:
        self._running = None
        self._failures += 1
        pause = min(self._rules.every_seconds, self._rules.retry_seconds * 2 ** (self._failures - 1))
        self._not_before = self._clock() + pause
        self._metrics.measurement(error.why if isinstance(error, MeasurementFailed) else "died")
        self._log.warning("measure.failed", error=f"the process that measures {error}", again_in_s=round(pause))

    def _done(self, found: Measured) -> None:
        self._failures = 0
        self._not_before = self._clock() + PAUSE_SECONDS
        self._metrics.measurement("done")
        self.show(found)
        self._log.info("measure.done", rows=found.rows, recall=found.recall, weights=len(found.weights))
        if found.recall is not None and found.recall < TARGET_RECALL:
            self._log.warning(
                "measure.recall", recall=found.recall, target=TARGET_RECALL, nprobes=found.nprobes, refine=found.refine
            )


def reason_to_measure(seen: Seen, measured: Measured | None, rules: MeasureRules, now: float) -> str:
    """The reason why the table is to be measured, "" when it need not be. Pure; `now` in Unix time."""
    if not seen.rows:
        return ""
    if measured is None:
        return "never measured"
    if measured.rules != RULES:
        return "by other rules"
    if seen.vector_index and measured.nprobes is None:
        return "without its index"
    if seen.rows >= (rules.factor if seen.idle else rules.busy_factor) * max(1, measured.rows):
        return "grown"
    return "" if abs(now - since_epoch(measured.at)) < rules.every_seconds else "old"


def since_epoch(at: str) -> float:
    """An ISO time as Unix time; 0 for what is none."""
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return 0.0
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
