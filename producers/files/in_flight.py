"""Which pages Kafka has acknowledged without a gap: only up to there may progress be written."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pipeline.settings import MIB
from producers.bytes.lines import Position
from producers.ledger import Ledger

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


class Checkpoint(NamedTuple):
    """A place between two entries, and the account of all before it."""

    position: Position
    ledger: Ledger
    ends: dict[int, int] = {}  # noqa: RUF012 - never changed
    """Partition -> offset behind the last record of this file before this place."""


class _Sent(NamedTuple):
    delivery: Delivery
    size: int


class InFlight:
    """Deliveries and checkpoints in the order of the file.

    Acknowledgements come in any order, a partition at a time; a delivery keeps its message alive until those before it
    are done too. So what one slow partition may hold back is bounded here, and not by the publisher's bound.
    """

    def __init__(self, start: Checkpoint, max_bytes: int = MAX_BYTES) -> None:
        self._queue: deque[_Sent | Checkpoint] = deque()
        self._reached = start
        self._bytes = 0
        self._max_bytes = max_bytes
        self._ends = dict(start.ends)

    def sent(self, delivery: Delivery, size: int) -> None:
        """Adds what was just handed to the publisher; waits for the oldest while too much is held."""
        self._queue.append(_Sent(delivery, size))
        self._bytes += size
        self._settle()
        while self._bytes > self._max_bytes:
            self._wait_for_oldest()

    def mark(self, checkpoint: Checkpoint) -> None:
        """Adds a place that is reached when all sent before it is acknowledged."""
        self._queue.append(checkpoint)
        self._settle()

    def acknowledged(self) -> Checkpoint:
        """The last place before which everything is acknowledged; never blocks."""
        self._settle()
        return self._reached

    def wait(self, timeout_s: float) -> Checkpoint:
        """The last checkpoint, once everything before it is acknowledged.

        Raises:
            TryAgain: one delivery took longer than `timeout_s`.
        """
        while self._queue:
            self._wait_for_oldest(timeout_s)
        return self._reached

    def _settle(self) -> None:
        while self._queue:
            oldest = self._queue[0]
            if isinstance(oldest, Checkpoint):
                self._reached = oldest._replace(ends=dict(self._ends))
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
