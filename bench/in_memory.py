"""A Kafka that answers at once, for benchmarks of our own side of the loops: what it costs is nearly nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.base import MemberState

from pipeline.kafka import Cluster
from pipeline.servers import parse_servers
from pipeline.settings import MIB, KafkaSettings

POLL_RECORDS = 500
"""kafka-python's `max_poll_records`."""


def in_memory(topic: str, records: Sequence[tuple[bytes, bytes]], stopping: threading.Event) -> Cluster:
    """A cluster with these keys and values in partition 0 of one topic; at their end it sets `stopping`."""
    return cast("Cluster", _Cluster(topic, records, stopping))


class _Cluster:
    bootstrap = "127.0.0.1:9"
    servers = parse_servers(bootstrap)
    kafka = KafkaSettings()

    def __init__(self, topic: str, records: Sequence[tuple[bytes, bytes]], stopping: threading.Event) -> None:
        self._new_consumer: Callable[[], _Consumer] = lambda: _Consumer(topic, records, stopping)

    def consumer(self, *_: object, **__: object) -> _Consumer:
        return self._new_consumer()

    def connected(self, *_: object, **__: object) -> _Producer:
        return _Producer()

    def max_message_bytes(self, _topic: str) -> int:
        return 32 * MIB


class _Consumer:
    def __init__(self, topic: str, records: Sequence[tuple[bytes, bytes]], stopping: threading.Event) -> None:
        self._partition = TopicPartition(topic, 0)
        self._records = [_record(topic, at, key, value) for at, (key, value) in enumerate(records)]
        self._stopping = stopping
        self._at = 0
        self._paused = False
        self._coordinator = SimpleNamespace(state=MemberState.STABLE, need_rejoin=lambda: False)

    def subscribe(self, _topics: object, listener: Any) -> None:
        listener.on_partitions_assigned([self._partition])

    def group_metadata(self) -> Any:
        return SimpleNamespace(member_id="bench")

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        if self._paused:
            return {}
        some = self._records[self._at : self._at + min(max_records, POLL_RECORDS)]
        self._at += len(some)
        if not some and timeout_ms:
            self._stopping.set()
        return {self._partition: some} if some else {}

    def pause(self, *partitions: TopicPartition) -> None:
        self._paused = bool(partitions)

    def resume(self, *_: TopicPartition) -> None:
        self._paused = False

    def assignment(self) -> set[TopicPartition]:
        return {self._partition}

    def beginning_offsets(self, partitions: Iterable[TopicPartition], **_: object) -> Mapping[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    def seek(self, _partition: TopicPartition, offset: int) -> None:
        self._at = offset

    def committed(self, *_: object, **__: object) -> None:
        return None

    def topics(self) -> None: ...

    def commit(self, *_: object, **__: object) -> None: ...

    def close(self, *_: object, **__: object) -> None: ...


def _record(topic: str, at: int, key: bytes, value: bytes) -> Any:
    return SimpleNamespace(topic=topic, partition=0, offset=at, key=key, value=value)


class _Producer:
    def send(self, *_: object, **__: object) -> _Acknowledged:
        return _Acknowledged()

    def close(self, *_: object, **__: object) -> None: ...


class _Acknowledged:
    is_done = True
    value = SimpleNamespace(partition=0, offset=0)

    def succeeded(self) -> bool:
        return True

    def failed(self) -> bool:
        return False

    def add_callback(self, call: Callable[[Any], object]) -> None:
        call(self.value)

    def add_errback(self, _call: object) -> None: ...
