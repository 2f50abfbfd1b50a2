"""Looks at the groups, and remembers from look to look what one look cannot see: rates, standstills, ages."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.kafka import Cluster
from pipeline.lag.ages import Ages, Place
from pipeline.lag.backlog import Backlog, ClusterProbe, Step
from pipeline.lag.first_records import FirstRecords
from pipeline.lag.rates import Pace, Rate
from pipeline.lag.view import GroupLag, LagView, PartitionLag
from pipeline.offsets import group_members

WINDOW_S = 300.0
READ_SECONDS = 2.0
"""Time of a look for reading records; the offsets are there by then, and ages not read now are read next time."""


@dataclass(slots=True)
class Movement:
    """The pace of a group on a topic, and for how long each partition has stood, since this process began to look."""

    topic_id: str
    _rate: Rate = field(default_factory=lambda: Rate(WINDOW_S))
    _minute: Rate = field(default_factory=Rate)
    _moved: int = 0
    _positions: Mapping[int, int] = field(default_factory=dict)
    _waiting_since: dict[int, float] = field(default_factory=dict)

    def take(self, backlog: Backlog, now: float) -> None:
        """Only commits count as movement: a log that is trimmed moves its start, and nobody has worked for it."""
        positions, lags = backlog.position, backlog.lags
        for partition, position in positions.items():
            before = self._positions.get(partition, position)
            committed = backlog.committed.get(partition, -1)
            self._moved += max(0, committed - before) if committed >= position else 0
            if not lags[partition]:
                self._waiting_since.pop(partition, None)
            elif position != before:
                self._waiting_since[partition] = now
            else:
                self._waiting_since.setdefault(partition, now)
        self._positions = positions
        self._rate.take(self._moved, now)
        self._minute.take(self._moved, now)

    @property
    def pace(self) -> Pace | None:
        return Pace.of(self._rate)

    @property
    def minute(self) -> Pace | None:
        return Pace.of(self._minute)

    def stalled_s(self, partition: int, now: float) -> float:
        """Time since the group last moved here while it had something to do; 0 when it has nothing."""
        since = self._waiting_since.get(partition)
        return 0.0 if since is None else now - since


class Observer:
    """Asks a cluster about groups. `close` ends what it has opened; the cluster is its owner's."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._log = ClusterProbe(cluster)
        self._records = FirstRecords(cluster)
        self._ages = Ages()
        self._movements: dict[tuple[str, str], Movement] = {}

    def look(self, steps: Sequence[Step], read_seconds: float = READ_SECONDS) -> LagView:
        """The standing of these groups now; some questions for all of them, and one bounded read.

        Args:
            read_seconds: what the read may take; 0: nothing is read, and no age is known.

        Raises:
            TryAgain: Kafka does not answer.
            Fatal: it refuses.
        """
        backlogs = self._log.backlogs(steps)
        members = group_members(self._cluster, sorted({step.group for step in steps}))
        now, wall = time.monotonic(), time.time()
        if read_seconds:
            self._read(list(backlogs.values()), read_seconds, now)
        aged_at = wall if read_seconds else None
        marked = {step: self._ages.with_finished(backlog) for step, backlog in backlogs.items()}
        self._follow(marked, now)
        return LagView(
            wall,
            tuple(self._group(step, marked.get(step), members[step.group], now, aged_at) for step in steps),
            {step.topic: marked[step].log if step in marked else None for step in steps},
            marked,
        )

    def close(self) -> None:
        self._records.close()

    def _read(self, backlogs: Sequence[Backlog], seconds: float, now: float) -> None:
        wanted = self._ages.wanted(backlogs, now)
        if wanted:
            found = self._records.look([offsets for _, offsets in wanted], seconds)
            for place, offsets in wanted:
                if offsets in found:
                    self._ages.take(place, offsets, found[offsets], now)

    def _follow(self, backlogs: dict[Step, Backlog], now: float) -> None:
        """A group on a topic that was made anew begins anew; one whose topic is gone is forgotten."""
        movements: dict[tuple[str, str], Movement] = {}
        for step, backlog in backlogs.items():
            key = (step.group, step.topic)
            before = self._movements.get(key)
            same = before is not None and before.topic_id == backlog.log.topic_id
            movements[key] = before if before is not None and same else Movement(backlog.log.topic_id)
            movements[key].take(backlog, now)
        self._movements = movements

    def _group(self, step: Step, backlog: Backlog | None, members: int, now: float, wall: float | None) -> GroupLag:
        if backlog is None:
            return GroupLag(step, members, (), None)
        movement = self._movements[step.group, step.topic]
        partitions = tuple(
            PartitionLag(
                partition,
                backlog.committed.get(partition),
                lag,
                self._age_s(Place(step.group, backlog.log.topic_id, partition), lag, wall),
                movement.stalled_s(partition, now),
            )
            for partition, lag in sorted(backlog.lags.items())
        )
        return GroupLag(step, members, partitions, movement.pace, movement.minute, backlog.done)

    def _age_s(self, place: Place, lag: int, wall: float | None) -> float | None:
        if wall is None:
            return None
        return self._ages.age_s(place, wall) if lag else 0.0
