"""Sends pages to `pages` again: a new version is the only thing that overwrites rows, an equal one is a duplicate.

A page that `pages` has is sent as its newest record says; one that only the table has gets a null. A producer may
have sent a newer version between our reading and our sending, which ours would then bury: so what came in between is
looked at, and sent once more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pipeline.kafka import Cluster, read_range
from pipeline.publisher import Message, Publisher
from pipeline.settings import MIB

BATCH_BYTES = 32 * MIB
MOST_PAGES = 200_000
"""More are not a repair: `python -m pipeline.replay --stage chunk` makes all of them again without sending any."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was sent."""

    pages: int
    deletions: int
    overtaken: int
    """Pages of which somebody sent a newer version meanwhile, and which were therefore sent once more."""


def repair(cluster: Cluster, topic: str, wanted: Collection[str]) -> Repaired:
    """Sends the newest record of each wanted page again, and a null for those that the topic does not have.

    Reads the topic twice: first for where the newest records stand, then for the records, so that only a batch of
    them is in memory.
    """
    keys = {key.encode() for key in wanted}
    ranges = {p: (start, end) for p, start, end in _bounds(cluster, topic)}
    since = {partition: end for partition, (_, end) in ranges.items()}
    newest = {r.key: (r.partition, r.offset) for r in read_range(cluster, topic, ranges) if r.key in keys}
    gone = [Message(topic, key, None) for key in sorted(keys - newest.keys())]
    with Publisher(cluster) as publisher:
        overtaken = send_again(cluster, publisher, gone, since)
        batch: list[Message] = []
        for record in read_range(cluster, topic, ranges):
            if newest.get(record.key) == (record.partition, record.offset):
                batch.append(Message(topic, record.key, record.value, record.partition))
            if sum(message.size for message in batch) >= BATCH_BYTES:
                overtaken += send_again(cluster, publisher, batch, since)
                batch = []
        overtaken += send_again(cluster, publisher, batch, since)
    return Repaired(len(newest), len(gone), overtaken)


def _bounds(cluster: Cluster, topic: str) -> Iterator[tuple[int, int, int]]:
    starts, ends = cluster.log_starts(topic), cluster.log_ends(topic)
    return ((partition, starts[partition], end) for partition, end in ends.items())


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
