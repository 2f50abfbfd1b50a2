"""When a view may say that all is done."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.lag.backlog import Backlog, Drain, Log, Step


class Completion:
    """Whether nothing is left to do, by the rule that a run ends by (`pipeline.lag.backlog.Drain`).

    A run knows when its reading is over; a view does not, so it begins anew whenever something came into a topic or a
    group was set back, and believes in the end only when nothing has come into the first topic for `quiet_s`. The later
    ones need no such wait: a local run takes its Kafka along as soon as the last of them is done.
    """

    def __init__(self, steps: Sequence[Step], quiet_s: float) -> None:
        self._steps = list(steps)
        self._quiet_s = quiet_s
        self._drain = Drain(self._steps)
        self._ends: dict[Step, dict[int, int]] = {}
        self._done: dict[Step, int] = {}
        self._quiet_since = 0.0

    def turn(self, log: Log, backlogs: Sequence[Backlog], now: float) -> bool:
        """Whether all steps are at their ends, with these as the newest look at all of them."""
        ends = {backlog.step: dict(backlog.ends) for backlog in backlogs}
        done = {backlog.step: backlog.done for backlog in backlogs}
        if ends != self._ends or any(done[step] < before for step, before in self._done.items()):
            self._drain = Drain(self._steps)
        if ends[self._steps[0]] != self._ends.get(self._steps[0]):
            self._quiet_since = now
        self._ends, self._done = ends, done
        return self._drain.turn(log, now) and now - self._quiet_since >= self._quiet_s
