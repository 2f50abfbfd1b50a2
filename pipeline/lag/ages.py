"""Ages of the first records that groups have not committed past; remembered, because each look costs a read.

A record is read again only when the position has moved on from it, and then at most every 15 s: until then its age is
an upper bound, as what comes later in a log is younger. So a group that races along costs a few reads a
second, however many partitions it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pipeline.lag.backlog import Backlog
from pipeline.lag.first_records import First, OffsetRange

AGAIN_S = 15.0
DOUBT_S = 300.0
"""Compaction can take the remembered record away: so often it is read again although the group stands still."""

NEVER = float("-inf")


class Place(NamedTuple):
    """A group in a partition of a topic; of the one topic, not of the next that has its name."""

    group: str
    topic_id: str
    partition: int


@dataclass(slots=True)
class _Seen:
    position: int
    end: int
    first: First | None
    """None: looked for, and not found in time."""
    looked_at: float


@dataclass(slots=True)
class Ages:
    """The ages known so far; `wanted` says which records to read now, `take` is told the findings."""

    _seen: dict[Place, _Seen] = field(default_factory=dict)

    def wanted(self, backlogs: Iterable[Backlog], now: float) -> list[tuple[Place, OffsetRange]]:
        """The records to read, the most urgent first: those never looked at, then those longest ago."""
        urgent: list[tuple[float, Place, OffsetRange]] = []
        present: set[Place] = set()
        for backlog in backlogs:
            for place, offsets in _unread(backlog):
                present.add(place)
                since = self._due_since(place, offsets, now)
                if since is not None:
                    urgent.append((since, place, offsets))
        # Those without lag are forgotten: the next record that comes has nothing to do with the last.
        self._seen = {place: seen for place, seen in self._seen.items() if place in present}
        return [(place, offsets) for _, place, offsets in sorted(urgent)]

    def take(self, place: Place, offsets: OffsetRange, first: First | None, now: float) -> None:
        """Remembers what was found; None: it could not be read in time, and what was known before still holds."""
        before = self._seen.get(place)
        if first is None and before is not None and before.position <= offsets.position:
            first = before.first
            if first is not None and first.offset is None and before.end < offsets.end:
                first = None
        self._seen[place] = _Seen(offsets.position, offsets.end, first, now)

    def age_s(self, place: Place, wall_now: float) -> float | None:
        """Never negative: a producer's clock may be ahead of ours."""
        seen = self._seen.get(place)
        if seen is None or seen.first is None or seen.first.timestamp_ms is None:
            return None
        return max(0.0, wall_now - seen.first.timestamp_ms / 1000)

    def with_finished(self, backlog: Backlog) -> Backlog:
        """The backlog with the partitions marked where nothing but offsets is left."""
        finished = frozenset(at.partition for place, at in _unread(backlog) if self._is_finished(place, at))
        return replace(backlog, finished=finished) if finished else backlog

    def _is_finished(self, place: Place, offsets: OffsetRange) -> bool:
        seen = self._seen.get(place)
        if seen is None or seen.first is None or seen.first.offset is not None:
            return False
        return seen.position <= offsets.position and offsets.end <= seen.end

    def _due_since(self, place: Place, offsets: OffsetRange, now: float) -> float | None:
        """The time of the last look, if it is time to look again; never, also when the group was set back."""
        seen = self._seen.get(place)
        if seen is None or offsets.position < seen.position:
            return NEVER
        if seen.first is not None and seen.first.offset is None and seen.end < offsets.end:
            return seen.looked_at
        moved = seen.first is None or (seen.first.offset is not None and seen.first.offset < offsets.position)
        return seen.looked_at if now - seen.looked_at >= (AGAIN_S if moved else DOUBT_S) else None


def _unread(backlog: Backlog) -> Iterator[tuple[Place, OffsetRange]]:
    """The unread part of each partition with lag."""
    position = backlog.position
    for partition, lag in backlog.lags.items():
        if lag:
            place = Place(backlog.step.group, backlog.log.topic_id, partition)
            yield place, OffsetRange(backlog.step.topic, partition, position[partition], backlog.log.ends[partition])
