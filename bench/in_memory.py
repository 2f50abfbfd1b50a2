"""A Kafka in memory: topics, groups and their commits, for benchmarks of our own side of the loops and for tests.

It costs nearly nothing. It answers as a cluster of one broker does that is always there: its behaviour is held to
Kafka's by one suite for it and a real one (`tests/contract/test_batches.py`). It has no time: a member leaves its group
when it is closed, never because it was silent.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import CommitFailedError, OffsetOutOfRangeError
from kafka.partitioner.default import murmur2
from kafka.structs import OffsetAndMetadata

from bench.in_memory_clients import Consumer, Producer
from bench.in_memory_groups import Group
from pipeline.kafka import Cluster
from pipeline.offsets import TopicLog
from pipeline.servers import parse_servers
from pipeline.settings import MIB, KafkaSettings


def in_memory(topic: str, records: Sequence[tuple[bytes, bytes]], stopping: threading.Event) -> Cluster:
    """A cluster with these keys and values in partition 0 of one topic; whoever polls at their end sets `stopping`."""
    cluster = InMemoryKafka(at_the_end=stopping.set)
    cluster.create(topic, 1)
    for key, value in records:
        cluster.append(topic, key, value, 0)
    return cast("Cluster", cluster)


class InMemoryKafka:
    """The part of `pipeline.kafka.Cluster`, and of the admin client behind it, that the product uses."""

    bootstrap = "127.0.0.1:9"
    servers = parse_servers(bootstrap)
    kafka = KafkaSettings()

    def __init__(self, at_the_end: Callable[[], None] | None = None) -> None:
        self.changed = threading.Condition()
        self.at_the_end = at_the_end
        self.admin = _Admin(self)
        self.groups: dict[str, Group] = {}
        self._logs: dict[str, list[_Log]] = {}
        self._names = itertools.count()

    def create(self, topic: str, partitions: int) -> None:
        self._logs[topic] = [_Log() for _ in range(partitions)]

    def partitions(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for number in range(len(self._logs.get(topic, ())))]

    def at(self, partition: TopicPartition) -> _Log:
        log: _Log = self._logs[partition.topic][partition.partition]
        return log

    def group(self, name: str | None) -> Group:
        """The group of this name; one of its own for a consumer without a group."""
        return self.groups.setdefault(name or f"nobody-{next(self._names)}", Group())

    def new_name(self, client: str) -> str:
        return f"{client}-{next(self._names)}"

    def append(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> tuple[int, int]:
        """Partition and offset; a topic that nobody has made takes everything and keeps nothing."""
        logs = self._logs.get(topic)
        if logs is None:
            return 0, 0
        if partition is None:
            partition = (murmur2(key or b"") & 0x7FFFFFFF) % len(logs)
        with self.changed:
            log = logs[partition]
            record = SimpleNamespace(
                topic=topic, partition=partition, offset=log.end, key=key, value=value, headers=list(headers)
            )
            log.records.append(cast("ConsumerRecord", record))
            self.changed.notify_all()
            return partition, log.end - 1

    def consumer(self, group: str | None = None, **options: Any) -> Consumer:
        return Consumer(self, group, options.get("client_id", "consumer"), options.get("group_instance_id"))

    def connected(self, *_: object, **__: object) -> Producer:
        return Producer(self)

    def max_message_bytes(self, _topic: str) -> int:
        return 32 * MIB

    def log(self, topic: str) -> TopicLog:
        logs = dict(enumerate(self._logs[topic]))
        return TopicLog(topic, {p: log.start for p, log in logs.items()}, {p: log.end for p, log in logs.items()})

    def committed(self, group: str, topic: str) -> dict[int, int]:
        offsets = self.group(group).offsets.items()
        return {partition.partition: at.offset for partition, at in offsets if partition.topic == topic}

    def trim(self, topic: str, before: Mapping[int, int]) -> None:
        for number, offset in before.items():
            self._logs[topic][number].trim(offset)

    def call(self, ask: Callable[[], Any]) -> Any:
        return ask()

    def close(self) -> None:
        """Nothing to end."""


class _Log:
    """One partition: its records from offset `start` on."""

    def __init__(self) -> None:
        self.start = 0
        self.records: list[ConsumerRecord] = []

    @property
    def end(self) -> int:
        return self.start + len(self.records)

    def read(self, offset: int, most: int) -> list[ConsumerRecord]:
        if not self.start <= offset <= self.end:
            raise OffsetOutOfRangeError(f"{offset} is not in {self.start} to {self.end}")
        return self.records[offset - self.start : offset - self.start + most]

    def trim(self, before: int) -> None:
        del self.records[: before - self.start]
        self.start = max(self.start, before)


class _Admin:
    """Of the admin client, what the tests of groups ask."""

    def __init__(self, kafka: InMemoryKafka) -> None:
        self._kafka = kafka

    def create_topics(self, topics: Mapping[str, Mapping[str, Any]], **_: object) -> None:
        for name, wanted in topics.items():
            self._kafka.create(name, wanted["num_partitions"])

    def list_group_offsets(self, groups: Collection[str]) -> dict[str, dict[TopicPartition, OffsetAndMetadata]]:
        return {group: dict(self._kafka.group(group).offsets) for group in groups}

    def alter_group_offsets(self, group: str, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        if self._kafka.group(group).members:
            raise CommitFailedError("the group has members")
        self._kafka.group(group).offsets.update(offsets)

    def describe_groups(self, groups: Collection[str]) -> dict[str, Any]:
        return {group: self._kafka.group(group).described() for group in groups}
