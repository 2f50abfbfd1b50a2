"""Reads the first record at or after a place in a log: how old it is, and whether there is any.

Kafka has no question for either. Offsets alone do not say: compaction takes records away and leaves their offsets,
transactions leave markers that nobody is given, so a log may end with offsets that have no record at all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import AuthorizationError, KafkaError
from kafka.protocol.consumer import IsolationLevel

from pipeline.errors import Forbidden, one_line
from pipeline.kafka import Cluster

KIB = 1024
WAVE = 32
"""Partitions that are read at once."""
POLL_MS = 200
CONFIG: dict[str, Any] = {
    # Trimmed or expired in between: the first record is then the log's first.
    "auto_offset_reset": "earliest",
    "fetch_max_wait_ms": 50,
    # A fetch brings at least one whole batch, however large, but no more than this where batches are smaller.
    "max_partition_fetch_bytes": 128 * KIB,
    "fetch_max_bytes": 4096 * KIB,
    "max_poll_records": 1_000_000,
    # In a session, a partition with nothing new is left out of the answer, which would look like no answer.
    "enable_incremental_fetch_sessions": False,
}


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The offsets of a partition from `position` up to, not including, `end`."""

    topic: str
    partition: int
    position: int
    end: int

    @property
    def log(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


@dataclass(frozen=True, slots=True)
class First:
    """The first record of a range; `offset` is None when the range has none."""

    offset: int | None
    timestamp_ms: int | None = None
    """As its producer set it, or the broker; None when the record has none."""


NONE_LEFT = First(None)


class FirstRecords:
    """One consumer, without a group, for as many ranges as there are; `close` ends it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._made: KafkaConsumer | None = None

    def look(self, ranges: Sequence[OffsetRange], seconds: float) -> dict[OffsetRange, First | None]:
        """The first record of each range, in their order, as far as the time allows.

        None: looked for, and not known. Missing: not looked for, there was no time.

        Raises:
            TryAgain: no Kafka answers.
            Forbidden: we may not read a topic.
        """
        deadline = time.monotonic() + seconds
        found: dict[OffsetRange, First | None] = {}
        try:
            for wave in _waves(ranges):
                if time.monotonic() > deadline:
                    break
                found.update(dict.fromkeys(wave))
                self._look_at(wave, deadline, found)
        except AuthorizationError as error:
            self.close()
            raise Forbidden(
                f"Kafka at {self._cluster.bootstrap}: {one_line(error)}; "
                "the age of records needs the right to READ the topic"
            ) from error
        except KafkaError:
            self.close()  # the next look makes a new one; until then nothing more is known
        return found

    def close(self) -> None:
        if self._made is not None:
            self._made.close()
            self._made = None

    @property
    def _consumer(self) -> KafkaConsumer:
        if self._made is None:
            self._made = self._cluster.consumer(**CONFIG)
        return self._made

    def _look_at(self, wave: list[OffsetRange], deadline: float, found: dict[OffsetRange, First | None]) -> None:
        """A poll that brings nothing ends the wave: what is left then is looked at one by one."""
        open_ = {offsets.log: offsets for offsets in wave}
        self._start(wave)
        while open_ and time.monotonic() < deadline:
            answers = self._consumer.poll(timeout_ms=POLL_MS)
            for log, records in answers.items():
                found[open_[log]] = _first(records[0], open_[log])
            passed = [log for log, at in open_.items() if log not in answers and self._position(log) >= at.end]
            found.update({open_[log]: NONE_LEFT for log in passed})
            read = [*answers, *passed]
            for log in read:
                del open_[log]
            self._consumer.pause(*read)
            if not answers and not read:
                break
        for offsets in open_.values():
            if time.monotonic() < deadline:
                self._look_alone(offsets, deadline, found)

    def _look_alone(self, offsets: OffsetRange, deadline: float, found: dict[OffsetRange, First | None]) -> None:
        """A log asked for alone gives a record if it has one: an answer without any means that there is none.

        Where a whole tail has been cleaned away no read ever gets beyond it, so its end is not waited for. Where a
        transaction is still open, nobody is given what is behind its begin: that is not known to be nothing.
        """
        at = offsets.position
        while time.monotonic() < deadline:
            self._start([OffsetRange(offsets.topic, offsets.partition, at, offsets.end)])
            records = self._consumer.poll(timeout_ms=POLL_MS).get(offsets.log)
            if records:
                found[offsets] = _first(records[0], offsets)
                return
            before, at = at, max(at, self._position(offsets.log))
            answered = (self._consumer.highwater(offsets.log) or 0) >= offsets.end
            if at >= offsets.end or (answered and at == before):
                if at >= offsets.end or self._is_decided(offsets):
                    found[offsets] = NONE_LEFT
                return

    def _start(self, ranges: Sequence[OffsetRange]) -> None:
        self._consumer.unsubscribe()  # forgets what was known of a partition, else an old answer passes for a new one
        self._consumer.assign([offsets.log for offsets in ranges])
        for offsets in ranges:
            self._consumer.seek(offsets.log, offsets.position)

    def _position(self, log: TopicPartition) -> int:
        return self._consumer.position(log, timeout_ms=POLL_MS) or 0

    def _is_decided(self, offsets: OffsetRange) -> bool:
        """True when no transaction is open before the end of the range."""
        stable = self._cluster.call(
            lambda: self._cluster.admin.list_partition_offsets(
                {offsets.log: -1}, isolation_level=IsolationLevel.READ_COMMITTED
            )
        )
        return bool(stable[offsets.log].offset >= offsets.end)


def _first(record: ConsumerRecord, offsets: OffsetRange) -> First:
    if record.offset >= offsets.end:
        return NONE_LEFT
    return First(record.offset, record.timestamp if record.timestamp >= 0 else None)


def _waves(ranges: Sequence[OffsetRange]) -> Iterator[list[OffsetRange]]:
    """Up to `WAVE` ranges at once, each of another partition: a consumer stands at one place in a log."""
    wave: dict[TopicPartition, OffsetRange] = {}
    for offsets in ranges:
        if len(wave) == WAVE or offsets.log in wave:
            yield list(wave.values())
            wave = {}
        wave[offsets.log] = offsets
    if wave:
        yield list(wave.values())
