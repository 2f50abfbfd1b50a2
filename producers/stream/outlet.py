"""To Kafka: pages, tombstones, and the position in the stream, written only behind what is acknowledged."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import msgspec.structs

from pipeline.errors import Fatal, TryAgain
from pipeline.kafka import Cluster, read_to_end
from pipeline.progress_records import decode_record
from pipeline.publisher import Delivery, Message, Publisher, RecordTooLarge
from pipeline.records import Page
from pipeline.topics import CorpusTopics
from producers.run.delivery import Handed, InFlight, PageSender

SCHEMA_VERSION = 1

_PARTITION = 0
"""Of the topic `progress`: fixed, so that only this one need be read to find the record."""

STALL_SECONDS = 20.0
"""Nothing acknowledged for so long: wait for it, for only a wait makes the publisher replace a dead producer."""

GIVE_UP_SECONDS = 90.0
ALIVE_SECONDS = 3600.0
"""A position that does not move is written again so often: its age is how long nobody was there."""


class LivePosition(msgspec.Struct, frozen=True, kw_only=True):
    """The record `live/<wiki>` in `progress`."""

    schema: int = SCHEMA_VERSION
    wiki: str
    stream: str
    since: str = ""
    """The time that `--since` said: another one begins again."""
    begun: str
    """Time from which on changes are followed, ISO 8601."""
    event_id: str = ""
    """Every change from then up to this event is in `pages`; empty before the first."""
    at: str
    """When that was, ISO 8601."""

    @property
    def age_days(self) -> float:
        return (datetime.now(UTC) - datetime.fromisoformat(self.at)).total_seconds() / 86_400


def begin(wiki: str, stream: str, since: str) -> LivePosition:
    """Before the first change of this time, or of now."""
    now = now_text()
    return LivePosition(wiki=wiki, stream=stream, since=since, begun=since or now, at=now)


def key_of(wiki: str) -> str:
    return f"live/{wiki}"


def now_text() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_position(cluster: Cluster, topic: str, wiki: str) -> LivePosition | None:
    """The newest record of this wiki; None when there is none that can be read.

    Raises:
        Fatal: a newer Cirrostream wrote it.
    """
    key = key_of(wiki).encode()
    found: bytes | None = None
    for record in read_to_end(cluster, topic, [_PARTITION], deadline_s=600):
        if record.key == key:
            found = record.value
    return None if found is None else _decode(found)


def send_position(publisher: Publisher, topic: str, position: LivePosition) -> Delivery:
    value = msgspec.msgpack.encode(position)
    return publisher.publish([Message(topic, key_of(position.wiki).encode(), value, partition=_PARTITION)])


def _decode(data: bytes) -> LivePosition | None:
    return decode_record(data, LivePosition, SCHEMA_VERSION, "the position in the stream")


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
