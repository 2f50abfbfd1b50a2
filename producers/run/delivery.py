"""Pages that Kafka has acknowledged without a gap: only up to there may progress be written."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from pipeline.settings import MIB

MAX_BYTES = 32 * MIB


class Acknowledged(Protocol):
    """Where a record stands."""

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...


class Delivery(Protocol):
    """What `pipeline.publisher.Delivery` promises."""

    @property
    def done(self) -> bool: ...

    @property
    def records(self) -> Sequence[Acknowledged]: ...

    def wait(self, timeout_s: float = ...) -> object: ...


Place = TypeVar("Place")


class Reached(NamedTuple, Generic[Place]):
    """A place in a source before which everything is acknowledged."""

    place: Place
    ends: dict[int, int]
    """Partition -> offset behind the last record that was sent before it."""


class _Sent(NamedTuple):
    delivery: Delivery
    size: int


class _Mark(NamedTuple, Generic[Place]):
    place: Place


class InFlight(Generic[Place]):
    """Deliveries and places between them, in the order of the source; a place is whatever says where to go on.

    Acknowledgements come in any order, a partition at a time; a delivery keeps its message alive until those before it
    are done too. So what one slow partition may hold back is bounded here, and not by the publisher's bound.
    """

    def __init__(self, start: Place, ends: Mapping[int, int] | None = None, max_bytes: int = MAX_BYTES) -> None:
        self._queue: deque[_Sent | _Mark[Place]] = deque()
        self._ends = dict(ends or {})
        self._reached = Reached(start, dict(self._ends))
        self._bytes = 0
        self._max_bytes = max_bytes

    def sent(self, delivery: Delivery, size: int) -> None:
        """Adds what was just handed to the publisher; waits for the oldest while too much is held."""
        self._queue.append(_Sent(delivery, size))
        self._bytes += size
        self._settle()
        while self._bytes > self._max_bytes:
            self._wait_for_oldest()

    def mark(self, place: Place) -> None:
        """Adds a place that is reached when all sent before it is acknowledged."""
        self._queue.append(_Mark(place))
        self._settle()

    def acknowledged(self) -> Reached[Place]:
        """The last place before which everything is acknowledged; never blocks."""
        self._settle()
        return self._reached

    def wait(self, timeout_s: float) -> Reached[Place]:
        """The last place, once everything before it is acknowledged.

        Raises:
            TryAgain: one delivery took longer than `timeout_s`.
        """
        while self._queue:
            self._wait_for_oldest(timeout_s)
        return self._reached

    def _settle(self) -> None:
        while self._queue:
            oldest = self._queue[0]
            if isinstance(oldest, _Mark):
                self._reached = Reached(oldest.place, dict(self._ends))
            elif oldest.delivery.done:
                self._bytes -= oldest.size
                for record in oldest.delivery.records:
                    self._ends[record.partition] = max(record.offset + 1, self._ends.get(record.partition, 0))
            else:
                return
            self._queue.popleft()

    def _wait_for_oldest(self, timeout_s: float = 280.0) -> None:
        oldest = self._queue[0]
        if isinstance(oldest, _Sent):
            oldest.delivery.wait(timeout_s)
        self._settle()
