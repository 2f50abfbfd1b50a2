"""The rule by which a run ends and a view says that all is done.

Each stage commits an offset only when what it made of the record is safe in the next topic, so the stages are done in
their order: `pages` by the chunk group, then `chunks` by the embed group, then `vectors` by the table's. A later
topic's ends are taken only when the stage before it is done; before that, they would still grow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from pipeline.lag.backlog import Backlog, Step

STANDSTILL_S = 3.0


class RecordProbe(Protocol):
    """The rule's question to Kafka; a fake answers it in tests."""

    def has_records(self, topic: str, start: Mapping[int, int], ends: Mapping[int, int]) -> bool: ...


class Completion:
    """Follows the steps to their ends; `turn` is to be told of each look at all of them.

    Trap: `pages` is compacted. Its last offsets may have no record any more (a record was replaced and cleaned away, a
    transaction marker stands there), and a group that commits what it was given stays below the end for good. So when a
    group stands still below its end, the offsets between are read: if no record comes, there is none left to do.

    Args:
        steps: the stages' topics and groups, in order.
        quiet_s: the work is done once nothing has come into the first topic for so long. The later ones need no such
            wait: a local run takes its Kafka along as soon as the last of them is done.
        idle_s: the work is done once there has been nothing to do for so long, in no topic: whoever feeds the first
            may only have paused.

    With neither of them nothing of ours goes into the first topic any more, and what comes in later is another's: the
    ends of the first look are the ends. Else it begins anew whenever something came into a topic or a group was set
    back.
    """

    def __init__(self, steps: Sequence[Step], *, quiet_s: float | None = None, idle_s: float | None = None) -> None:
        self.ends: dict[Step, Mapping[int, int]] = {}
        """Of the steps that were reached, as they were then."""
        self._steps = steps
        self._goes_on = quiet_s is not None or idle_s is not None
        self._quiet_s, self._idle_s = quiet_s or 0.0, idle_s or 0.0
        self._reached = 0
        self._still: tuple[int, int, float] | None = None
        """Step, position and since when it has been that."""
        self._seen: dict[Step, Backlog] = {}
        self._quiet_since = self._idle_since = 0.0

    def turn(self, probe: RecordProbe, backlogs: Mapping[Step, Backlog], now: float) -> bool:
        """True when all is done, by the newest look: commits that were asked for before the ends."""
        if self._goes_on:
            self._begin_anew_if_more_came(backlogs, now)
        while self._reached < len(self._steps):
            step = self._steps[self._reached]
            backlog = backlogs[step]
            if backlog.log.leaderless:
                return False
            ends = self.ends.setdefault(step, backlog.log.ends)
            if self._is_behind(probe, replace(backlog, log=replace(backlog.log, ends=ends)), now):
                return False
            self._reached, self._idle_since = self._reached + 1, now
        return now - self._quiet_since >= self._quiet_s and now - self._idle_since >= self._idle_s

    def _begin_anew_if_more_came(self, backlogs: Mapping[Step, Backlog], now: float) -> None:
        before, self._seen = self._seen, dict(backlogs)
        if not before or any(_is_more(before[step], backlog) for step, backlog in backlogs.items()):
            self._reached, self.ends, self._still = 0, {}, None
        first = self._steps[0]
        if not before or backlogs[first].log.ends != before[first].log.ends:
            self._quiet_since = now

    def _is_behind(self, probe: RecordProbe, backlog: Backlog, now: float) -> bool:
        if not backlog.lag:
            return False
        if self._still is None or self._still[:2] != (self._reached, backlog.done):
            self._still = (self._reached, backlog.done, now)
            return True
        if now - self._still[2] < STANDSTILL_S:
            return True
        self._still = (self._reached, backlog.done, now)
        return probe.has_records(backlog.step.topic, backlog.position, backlog.log.ends)


def _is_more(before: Backlog, after: Backlog) -> bool:
    return after.log.ends != before.log.ends or after.done < before.done
