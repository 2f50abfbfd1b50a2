"""To Kafka: pages, tombstones, and the position in the stream, written only behind what is acknowledged."""

from __future__ import annotations

import contextlib
import time
from typing import NamedTuple

import msgspec.structs

from pipeline.errors import Fatal, TryAgain
from pipeline.publisher import Delivery, Publisher, RecordTooLarge
from pipeline.records import Page
from pipeline.topics import CorpusTopics
from producers.run.delivery import Handed, InFlight, PageSender
from producers.stream.position import LivePosition, now_text, send_position

STALL_SECONDS = 20.0
"""Nothing acknowledged for so long: wait for it, for only a wait makes the publisher replace a dead producer."""

GIVE_UP_SECONDS = 90.0
ALIVE_SECONDS = 3600.0
"""A position that does not move is written again so often: its age is how long nobody was there."""


class _Mark(NamedTuple):
    """All that follows from the events up to this one, and so many records, have been handed over."""

    number: int = 0
    event_id: str = ""
    sent: int = 0


class Outlet:
    """Sends what the changes lead to.

    `mark` says up to which event all is sent; that counts once it is acknowledged.
    """

    def __init__(
        self,
        sender: PageSender,
        publisher: Publisher,
        topics: CorpusTopics,
        start: LivePosition,
        progress_seconds: float,
    ) -> None:
        self._sender = sender
        self._publisher = publisher
        self._topic = topics.progress
        self._in_flight = InFlight(_Mark())
        self._marked = _Mark()
        self._sent = 0
        self._settled_at = time.monotonic()
        self._every = progress_seconds
        self._written = start
        self._written_number = 0
        self._written_at = time.monotonic()
        # At once: who is killed before the first change goes on from the same time, not from a later one.
        self._delivery: Delivery = send_position(publisher, self._topic, start)

    def send(self, page: Page) -> bool:
        """Hands a page over; False when it is too large and went to the dead letters."""
        handed = self._sender.send(page, self._written.stream, max(0, (page.revision or 1) - 1))
        if handed is not None:
            self._hand(handed)
        return handed is not None

    def delete(self, page_id: int) -> None:
        """Hands over the tombstone of a page of this wiki."""
        self._hand(self._sender.delete(f"{self._written.wiki}:{page_id}"))

    def mark(self, number: int, event_id: str) -> None:
        """All that follows from events up to this one has been handed over."""
        if number > self._marked.number:
            self._marked = _Mark(number, event_id, self._sent)
        elif self._sent > self._marked.sent:
            self._marked = self._marked._replace(sent=self._sent)
        else:
            return
        self._in_flight.mark(self._marked)

    def turn(self) -> None:
        """Writes the position down when it is time. Raises TryAgain when Kafka is away."""
        now = time.monotonic()
        reached = self._in_flight.acknowledged().place
        if reached == self._marked:
            self._settled_at = now
        elif now - self._settled_at > STALL_SECONDS:
            self._wait(GIVE_UP_SECONDS)
        silent = now - self._written_at
        moved = reached.number > self._written_number
        if not self._delivery.done:
            if silent > STALL_SECONDS:
                self._delivery.wait(GIVE_UP_SECONDS)
        elif silent > ALIVE_SECONDS or (moved and silent >= self._every):
            self._write(reached)

    def finish(self, timeout_s: float) -> None:
        """Writes down how far all is acknowledged; a Kafka that does not answer now costs work later, nothing else."""
        deadline = time.monotonic() + timeout_s
        with contextlib.suppress(TryAgain):
            self._wait(timeout_s * 2 / 3)
        self._write(self._in_flight.acknowledged().place)
        with contextlib.suppress(TryAgain):
            self._delivery.wait(max(0.5, deadline - time.monotonic()))

    def _hand(self, handed: Handed) -> None:
        self._sent += 1
        self._in_flight.sent(handed.delivery, handed.size)

    def _wait(self, timeout_s: float) -> None:
        try:
            self._in_flight.wait(timeout_s)
        except RecordTooLarge as error:
            raise Fatal(f"the brokers take smaller records than their topic says: {error}") from error

    def _write(self, reached: _Mark) -> None:
        event_id = reached.event_id or self._written.event_id  # a stream need not have ids
        self._written = msgspec.structs.replace(self._written, event_id=event_id, at=now_text())
        self._written_number, self._written_at = reached.number, time.monotonic()
        self._delivery = send_position(self._publisher, self._topic, self._written)
