"""Speed of a group, and the time that a partition of it has stood still; as seen by this process, since its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.lag.backlog import Backlog
from pipeline.lag.rates import Pace, Rate

WINDOW_S = 300.0


@dataclass(slots=True)
class Movement:
    """One group on one topic; `take` is to be told every look."""

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
