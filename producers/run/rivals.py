"""Notices another producer that reads the same shard: one of the two stops, before they send everything twice."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import NamedTuple

from kafka.consumer.fetcher import ConsumerRecord
from kafka.structs import TopicPartition

from pipeline.kafka import Cluster
from pipeline.kafka_errors import translated
from producers.run.progress import decode

LOOK_SECONDS = 0.5


class Rival(NamedTuple):
    """A run that advanced a shard of ours."""

    key: str
    run: str


class Rivals:
    """Follows `progress` from where it ended when the run began."""

    def __init__(self, cluster: Cluster, topic: str, run: str) -> None:
        self._run = run
        self._looked_at = 0.0
        self._consumer = cluster.consumer()
        ends = {TopicPartition(topic, partition): end for partition, end in cluster.log(topic).ends.items()}
        self._topic = topic
        with translated(topic):
            self._consumer.assign(list(ends))
            for partition, end in ends.items():
                self._consumer.seek(partition, end)

    def __enter__(self) -> Rivals:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def turn(self, keys: Collection[str]) -> Rival | None:
        """Another run's record of one of these shards, if there is a new one; asks Kafka twice a second."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return None
        self._looked_at = time.monotonic()
        with translated(self._topic):
            polled: dict[TopicPartition, list[ConsumerRecord]] = self._consumer.poll(timeout_ms=20)
        for records in polled.values():
            for record in records:
                key = (record.key or b"").decode("utf-8", "replace")
                progress = decode(record.value) if key in keys and record.value is not None else None
                if progress is not None and progress.run != self._run:
                    return Rival(key, progress.run)
        return None
