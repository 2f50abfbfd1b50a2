"""Watches a run from a thread of its own, so that a Kafka that does not answer never keeps the supervisor waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from pipeline.announcements import announced
from pipeline.errors import CirrostreamError, Fatal, TryAgain, one_line
from pipeline.kafka_errors import translated
from pipeline.lag.backlog import Backlog, Drain, Log, Step
from pipeline.lag.rates import Rate, time_left
from pipeline.status.scrape import Totals, ask

LOOK_S = 1.0
DRAIN_S = 0.3


@dataclass(frozen=True, slots=True)
class StageView:
    """A reading stage at one moment."""

    stage: str
    done: int
    lag: int
    rate: float
    """Records a second over the last minute."""

    @property
    def eta_s(self) -> float | None:
        """Seconds until the lag is worked off at this rate; None when it does not move."""
        return time_left(self.lag, self.rate)


@dataclass(frozen=True, slots=True)
class View:
    """What the watcher saw last."""

    stages: Mapping[str, StageView] = field(default_factory=dict)
    produced: int = 0
    """Records in `pages` that were not there when the run began."""
    produced_rate: float = 0.0
    complete: bool = False
    trouble: str = ""
    """Why the last look failed; empty when it did not."""
    fatal: CirrostreamError | None = None


class Follower(Protocol):
    """Follows the steps to where a run is complete, see `Drain`."""

    @property
    def complete(self) -> bool: ...

    def turn(self, log: Log, now: float) -> bool: ...


class OpenLog(Log, Protocol):
    """A log that has a connection of its own."""

    def close(self) -> None: ...


class Watcher(threading.Thread):
    """Looks at Kafka every second, and three times a second once reading is over; `view` is the newest answer.

    Args:
        log: what to ask; made inside the thread, whose alone it is, and closed there.
        steps: the stages' topics and groups, in order.
        announce_dir: where the processes say how to reach them.
        end: when there is nothing left to do; unset: when the steps have come to their ends once.
    """

    def __init__(
        self, log: Callable[[], OpenLog], steps: list[Step], announce_dir: Path, end: Follower | None = None
    ) -> None:
        super().__init__(name="watcher", daemon=True)
        self.view = View()
        self.totals = Totals()
        self.note = ""
        """What the run waits for, for the screen; set by whoever runs it."""
        self.reading_is_over = threading.Event()
        """To be set when all producers have ended: from then on an end is an end."""
        self._make_log = log
        self._steps = steps
        self.announce_dir = announce_dir
        self._drain: Follower = end or Drain(steps)
        self._ended = threading.Event()
        self._rates = {step.stage: Rate() for step in steps}
        self._first: dict[str, Backlog] = {}
        self._produced_rate = Rate()

    def run(self) -> None:
        with ExitStack() as stack:
            self._watch(stack)

    def _watch(self, stack: ExitStack) -> None:
        log: OpenLog | None = None
        looked_at = scraped_at = float("-inf")
        while not self._ended.is_set():
            now = time.monotonic()
            try:
                with translated("watching the run"):
                    log = log or stack.enter_context(closing(self._make_log()))
                    if now - looked_at >= LOOK_S:
                        self._look(log, now)
                        looked_at = now
                    if self.reading_is_over.is_set() and not self._drain.complete and self._drain.turn(log, now):
                        self._look(log, now)
                self.view = replace(self.view, complete=self._drain.complete, trouble="")
            except TryAgain as error:
                self.view = replace(self.view, trouble=str(error))
            except CirrostreamError as error:
                self.view = replace(self.view, fatal=error)
                return
            except Exception as error:  # noqa: BLE001 - a watcher that is dead in silence would keep the run for ever
                bug = f"watching the run: {one_line(error)} (a bug; please report it)"
                self.view = replace(self.view, fatal=Fatal(bug))
                return
            if now - scraped_at >= LOOK_S:
                self.scrape()
                scraped_at = now
            self._ended.wait(DRAIN_S if self.reading_is_over.is_set() else LOOK_S / 2)

    def scrape(self) -> None:
        """Reads every process' counters once more."""
        processes = announced(self.announce_dir)
        answers = ask([process.address for process in processes])
        self.totals.take({p.pid: answers[p.address] for p in processes if p.address in answers})

    def end(self) -> None:
        """Stops looking; returns when the thread is done, or after 5 s."""
        self._ended.set()
        self.join(5)

    def _look(self, log: Log, now: float) -> None:
        backlogs = [log.backlog(step) for step in self._steps]
        stages = {}
        for backlog in backlogs:
            stage = backlog.step.stage
            first = self._first.setdefault(stage, backlog)
            done = backlog.done - first.done
            stages[stage] = StageView(stage, done, backlog.lag, self._rates[stage].take(done, now))
        ends, first = backlogs[0].ends, self._first[self._steps[0].stage]
        produced = sum(ends.values()) - sum(first.ends.values())
        rate = self._produced_rate.take(produced, now)
        self.view = replace(self.view, stages=stages, produced=produced, produced_rate=rate)
