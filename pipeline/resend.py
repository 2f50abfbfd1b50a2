"""Sends pages to `pages` again: a new version is the only thing that overwrites rows, an equal one is a duplicate.

A page that `pages` has is sent as its newest record says. A producer may have sent a newer version between our
reading and our sending, which ours would then replace: so what came in between is looked at, and sent once more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from types import TracebackType

from kafka.consumer.fetcher import ConsumerRecord

from pipeline.kafka import Cluster, read_range
from pipeline.publisher import Message, Publisher
from pipeline.settings import MIB

BATCH_BYTES = 32 * MIB


@dataclass(frozen=True, slots=True)
class Newest:
    """The place of a page's newest record; `timestamp` is in ms, as Kafka has it."""

    partition: int
    offset: int
    timestamp: int
    deleted: bool


@dataclass(frozen=True, slots=True)
class NewestRecords:
    """A topic as it was when it was looked at, and where the newest records of some pages stand in it."""

    cluster: Cluster
    topic: str
    ranges: Mapping[int, tuple[int, int]]
    """Partition -> the first offset, and the end."""
    newest: Mapping[bytes, Newest]

    @classmethod
    def read(cls, cluster: Cluster, topic: str, keys: Collection[bytes]) -> NewestRecords:
        ranges = cluster.log(topic).ranges
        newest = {r.key: _newest(r) for r in read_range(cluster, topic, ranges) if r.key in keys}
        return cls(cluster, topic, ranges, newest)

    def messages(self, keys: Collection[bytes]) -> Iterator[Message]:
        """The newest records of these pages, read once more: they may be more than fits into memory."""
        for record in read_range(self.cluster, self.topic, self.ranges):
            if record.key in keys and self.newest.get(record.key) == _newest(record):
                yield Message(self.topic, record.key, record.value, record.partition)


def _newest(record: ConsumerRecord) -> Newest:
    return Newest(record.partition, record.offset, record.timestamp, record.value is None)


@dataclass(slots=True)
class Resender:
    """Sends messages of different keys to a topic that was read as `newest`, in batches, and awaits them."""

    newest: NewestRecords
    publisher: Publisher
    sent: int = 0
    overtaken: int = 0
    """Pages of which somebody sent a newer version meanwhile, and which were therefore sent once more."""
    _batch: list[Message] = field(default_factory=list)
    _bytes: int = 0

    def __enter__(self) -> Resender:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self._flush()

    def send(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self._batch.append(message)
            self._bytes += message.size
            if self._bytes >= BATCH_BYTES:
                self._flush()

    def _flush(self) -> None:
        since = {partition: end for partition, (_, end) in self.newest.ranges.items()}
        self.overtaken += send_again(self.newest.cluster, self.publisher, self._batch, since)
        self.sent += len(self._batch)
        self._batch, self._bytes = [], 0


@dataclass(frozen=True, slots=True)
class Resent:
    """Counts of the pages that were sent."""

    pages: int
    deletions: int
    overtaken: int


def resend(cluster: Cluster, topic: str, keys: Set[bytes]) -> Resent:
    """Sends the newest record of each of these pages again, and a null for those that the topic does not have."""
    found = NewestRecords.read(cluster, topic, keys)
    gone = sorted(keys - found.newest.keys())
    with Publisher(cluster) as publisher, Resender(found, publisher) as sender:
        sender.send(Message(topic, key, None) for key in gone)
        sender.send(found.messages(keys))
    return Resent(len(found.newest), len(gone), sender.overtaken)


def send_again(cluster: Cluster, publisher: Publisher, messages: Iterable[Message], since: Mapping[int, int]) -> int:
    """Sends messages of different keys; then, as long as others sent newer ones since offset `since`, those again.

    Gives how many had been overtaken.
    """
    overtaken = 0
    looked: dict[bytes, int] = {}
    pending = {message.key: message for message in messages}
    while pending:
        placed = publisher.publish(pending.values()).wait()
        mine = {key: (at.partition, at.offset) for key, at in zip(pending, placed, strict=True)}
        ranges: dict[int, tuple[int, int]] = {}
        for key, (partition, offset) in mine.items():
            start, end = ranges.get(partition, (offset, offset))
            ranges[partition] = min(start, looked.get(key, since[partition])), max(end, offset)
        topic = next(iter(pending.values())).topic
        newer: dict[bytes, Message] = {}
        for record in read_range(cluster, topic, ranges):
            start = looked.get(record.key, since[record.partition])
            if record.key in mine and start <= record.offset < mine[record.key][1]:
                newer[record.key] = Message(topic, record.key, record.value, record.partition)
        looked = {key: offset + 1 for key, (_, offset) in mine.items()}
        pending = newer
        overtaken += len(newer)
    return overtaken
