"""Pages on their way to Kafka: handed over, and acknowledged without a gap.

Only up to there may progress be written. A page that is too large for Kafka becomes a dead letter."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from pipeline.dead_letters import DeadLetter, DeadLetters
from pipeline.publisher import Delivery, Message, Publisher, RecordTooLarge
from pipeline.records import Page, encode
from pipeline.rejected import Rejected
from pipeline.settings import MIB
from pipeline.version import version

MAX_BYTES = 32 * MIB


class Acknowledged(Protocol):
    """The place of a record."""

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...


class Awaited(Protocol):
    """A delivery that can be waited for, as `pipeline.publisher.Delivery`."""

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
    delivery: Awaited
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

    def sent(self, delivery: Awaited, size: int) -> None:
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


class Handed(NamedTuple):
    """A page on its way."""

    delivery: Delivery
    size: int
    """Bytes in flight."""


class _Unsent(NamedTuple):
    """A record that never came to Kafka, by its place in its source."""

    topic: str
    offset: int
    key: bytes
    value: bytes | None
    partition: int = 0


class PageSender:
    """Sends pages and deletions to the topic `pages`."""

    def __init__(self, publisher: Publisher, topic: str, dead_letters: DeadLetters) -> None:
        self._publisher = publisher
        self._topic = topic
        self._dead_letters = dead_letters

    def fits(self, page: Page) -> bool:
        """True when Kafka takes a record of this page's size."""
        return self._publisher.takes(self._message(page))

    def send(self, page: Page, source: str, number: int) -> Handed | None:
        """Hands the page over; None when it is too large and went, acknowledged, to the dead letters.

        `source` and `number` say where it comes from, such as a file's name and a line.
        """
        message = self._message(page)
        try:
            delivery = self._publisher.publish([message])
        except RecordTooLarge as error:
            self._dead_letters.send(_letter(message, source, number, error))
            return None
        self._dead_letters.succeeded()
        return Handed(delivery, message.size)

    def delete(self, key: str) -> Handed:
        """Hands a tombstone over: the page goes from the table."""
        message = Message(self._topic, key.encode(), None)
        return Handed(self._publisher.publish([message]), message.size)

    def _message(self, page: Page) -> Message:
        return Message(self._topic, page.key.encode(), encode(msgspec.structs.replace(page, cirrostream=version())))


def _letter(message: Message, source: str, number: int, error: RecordTooLarge) -> DeadLetter:
    return DeadLetter.of(_Unsent(source, number, message.key, message.value), Rejected("too_large", str(error)))
