"""The groups' lag at one moment, as the exporter shows it and `--once` prints it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from pipeline.lag.backlog import Backlog, Step
from pipeline.lag.rates import Pace, time_left
from pipeline.offsets import TopicLog


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One group in one partition."""

    partition: int
    committed: int | None
    """None: never committed; the group would begin at the log's start."""
    lag: int
    age_s: float | None
    """Age of the first record not committed past; 0 without lag, None when it is not known."""
    stalled_s: float
    """How long the commit has not moved while there was lag, as far as this process has seen."""


@dataclass(frozen=True, slots=True)
class GroupLag:
    """One group on the topic that it reads; without partitions when there is no such topic."""

    step: Step
    members: int
    partitions: tuple[PartitionLag, ...]
    pace: Pace | None
    """Over 5 minutes; None before there were two looks, or when there is no topic."""
    minute: Pace | None = None
    done: int = 0
    """Records behind the group, from the log's first on."""

    @property
    def lag(self) -> int:
        return sum(partition.lag for partition in self.partitions)

    @property
    def age_s(self) -> float | None:
        """Age of the oldest record of all partitions; None when there is lag and no age is known."""
        ages = [partition.age_s for partition in self.partitions if partition.age_s is not None]
        known = not self.lag or any(partition.lag and partition.age_s is not None for partition in self.partitions)
        return max(ages) if ages and known else None


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """A group as a whole: one that reads two topics works them off together."""

    stage: str
    group: str
    members: int
    lag: int
    per_second: float | None
    """Offsets a second that it commits; None before there were two looks."""

    @property
    def drain_s(self) -> float | None:
        """Time to finish: infinite when there is lag and nothing moves, None when the pace is not known yet."""
        if self.per_second is None:
            return None if self.lag else 0.0
        left = time_left(self.lag, self.per_second)
        return math.inf if left is None else left


@dataclass(frozen=True, slots=True)
class LagView:
    """All groups, and the topics that they read: None for one that does not exist."""

    at: float
    """In Unix time."""
    groups: tuple[GroupLag, ...]
    topics: Mapping[str, TopicLog | None]
    backlogs: Mapping[Step, Backlog] = field(default_factory=dict)
    """Without those whose topic is not there."""

    def progress(self) -> Iterator[GroupSummary]:
        """Each group whose topic exists."""
        there = [group for group in self.groups if group.partitions]
        for (stage, name), parts in groupby(sorted(there, key=_whole), key=_whole):
            topics = list(parts)
            paces = [topic.pace for topic in topics]
            known = [pace.per_second for pace in paces if pace is not None]
            yield GroupSummary(
                stage,
                name,
                topics[0].members,
                sum(t.lag for t in topics),
                sum(known) if len(known) == len(paces) else None,
            )


def _whole(group: GroupLag) -> tuple[str, str]:
    return group.step.stage, group.step.group
