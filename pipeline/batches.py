"""Reads a topic as decoded batches, as one member of a consumer group.

Between two batches the group may take partitions away or bring others (`pipeline.membership`). A partition that is gone
takes its records with it, uncommitted: its new owner starts at the committed offset.

The records in hand when a process died may have killed it: `pipeline.elimination` says how such records are taken then,
and which of them is the one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, TypeVar

import structlog
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from msgspec.structs import replace

from pipeline import upgrade_grace
from pipeline.elimination import CAREFUL_SHARE, LETTERS_A_KILLER, Mark, share_of_watchdog
from pipeline.errors import CirrostreamError, Fatal, Stopped, TryAgain, WorkFailed, one_line
from pipeline.first_positions import Positions
from pipeline.kafka import Cluster
from pipeline.membership import JOIN_MS, POLL_MS, POLL_RECORDS, Membership
from pipeline.metrics import Metrics
from pipeline.records import SchemaTooNew
from pipeline.service import Watch, unwatched

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record(Generic[T]):
    """A decoded message and where it stands."""

    value: T
    raw: ConsumerRecord

    @property
    def key(self) -> bytes:
        key: bytes = self.raw.key
        return key

    @property
    def partition(self) -> int:
        return int(self.raw.partition)

    @property
    def offset(self) -> int:
        return int(self.raw.offset)


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """Records in partition order, and what to commit once they are done with.

    Empty when nothing came for a while, or the next record must be alone in hand, so that the loop can turn and settle
    what is still open. `alone` says which record it is then, and `share` what it may take of the watchdog's time.
    """

    records: list[Record[T]] = field(default_factory=list)
    next_offsets: dict[int, int] = field(default_factory=dict)
    alone: str = ""
    share: float = 1.0

    @property
    def values(self) -> list[T]:
        return [record.value for record in self.records]


@dataclass(slots=True)
class _Waiting(Generic[T]):
    """A record that has come and is not in a batch yet: decoded, or `raw` where it is to be decoded alone."""

    partition: TopicPartition
    offset: int
    record: Record[T] | None = None
    weight: int = 0
    raw: ConsumerRecord | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """Bounds one batch: it is cut at `weight`, or when its first record has waited for `seconds`."""

    weight: int
    seconds: float


class BatchSource(Generic[T]):
    """Batches of one topic for one member of a group.

    `decode` gives the value, or None for a record that it has dealt with itself (poison, sent to the dead
    letters); such a record is committed with its neighbours. `poison` deals with a record that ends its process, after
    so many deaths, `newer` with one of a newer schema when no upgrade has come. Use it as a context manager around the
    loop: how that ends decides whether what was in hand is under suspicion.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        group: str,
        *,
        decode: Callable[[ConsumerRecord], T | None],
        poison: Callable[[ConsumerRecord, int], None],
        newer: Callable[[ConsumerRecord, str], None],
        weigh: Callable[[T], int],
        limit: Limit,
        positions: Positions,
        stopping: threading.Event,
        metrics: Metrics,
        turned: Callable[[], None] = lambda: None,
        watch: Watch = unwatched,
        watchdog_s: float = 120.0,
        max_letters_in_a_row: int = 100,
        group_instance_id: str | None = None,
        session_timeout_s: float = 10.0,
    ) -> None:
        self._topic = topic
        self._decode = decode
        self._poison = poison
        self._newer = newer
        self._weigh = weigh
        self._limit = limit
        self._stopping = stopping
        self._metrics = metrics
        self._turned = turned
        self._watch = watch
        self._watchdog_s = watchdog_s
        self._max_killers = -(-max_letters_in_a_row // LETTERS_A_KILLER)
        self._arrived: dict[TopicPartition, list[ConsumerRecord]] = {}
        self._waiting: deque[_Waiting[T]] = deque()
        self._weight = 0
        self._first_at = 0.0
        self._suspected = False
        self._given: dict[int, int] = {}
        self._member = Membership(
            cluster,
            topic,
            group,
            positions=positions,
            # A batch that waits, one that is worked on, one on its way.
            in_hand=3 * limit.weight + POLL_RECORDS,
            stopping=stopping,
            metrics=metrics,
            turned=turned,
            group_instance_id=group_instance_id,
            session_timeout_s=session_timeout_s,
        )

    def batches(self) -> Iterator[Batch[T]]:
        """Batches until the process is asked to stop; empty ones while nothing comes."""
        while not self._stopping.is_set():
            self._turned()
            self._member.die_if_forgotten()
            if self._member.is_joining():
                self._poll(JOIN_MS)
                continue
            self._poll(0 if self._is_due() else POLL_MS)
            self._member.commit_done()
            if self._is_due():
                yield from self._cut_next()
            elif not self._waiting:
                yield Batch()

    @contextmanager
    def work(self, batch: Batch[T]) -> Iterator[None]:
        """Work on a batch: what goes wrong in it is put down to its records, which come again one at a time.

        `Stopped` passes: the batch in hand is dropped, uncommitted.

        Raises:
            WorkFailed: in place of an error that is none of ours.
        """
        what = batch.alone or f"{len(batch.records)} records of {self._topic}"
        watch = self._watch(batch.alone, batch.share * self._watchdog_s) if batch.alone else nullcontext()
        try:
            with self._blamed(what), watch:
                yield
        except TryAgain:
            self._suspected = True
            raise

    @contextmanager
    def _blamed(self, what: str) -> Iterator[None]:
        try:
            yield
        except (CirrostreamError, Stopped, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # Rust's panics are no Exceptions
            self._suspected = True
            structlog.get_logger().debug("work failed", exc_info=True)
            raise WorkFailed(f"{what}: unexpected {one_line(error)}") from error

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        """Commits these offsets, for the partitions that are still ours.

        A commit that the group refuses, for it is rebalancing, is tried again at the next turn: nothing else might come
        in a partition that stays ours. For one that does not stay, it is dropped: its new owner does the work again.

        Raises:
            Replaced: another member has this one's `group_instance_id`.
            TryAgain: Kafka did not answer for a minute.
        """
        self._member.commit(next_offsets)

    @property
    def assigned(self) -> set[int]:
        """Partitions that are ours at the moment."""
        return self._member.assigned

    def __enter__(self) -> BatchSource[T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leaves the group. The records in hand are under suspicion unless the end has nothing to do with them."""
        if not self._suspected and (error is None or isinstance(error, CirrostreamError | KeyboardInterrupt)):
            self._member.release()
        self.close()

    def close(self) -> None:
        """Leaves the group as it is. A static member does not: its partitions wait for its return."""
        self._member.close()

    def _is_due(self) -> bool:
        if not self._waiting:
            return False
        return (
            self._waiting[0].raw is not None
            or self._is_full()
            or time.monotonic() - self._first_at >= self._limit.seconds
        )

    def _is_full(self) -> bool:
        return self._weight >= self._batch_weight

    @property
    def _batch_weight(self) -> int:
        return max(1, self._limit.weight // CAREFUL_SHARE) if self._member.careful else self._limit.weight

    def _poll(self, timeout_ms: int) -> None:
        full = self._is_full() or bool(self._arrived) or any(entry.raw is not None for entry in self._waiting)
        polled, forgotten = self._member.poll(timeout_ms, full=full)
        self._drop(forgotten)
        for partition, records in polled.items():
            self._arrived.setdefault(partition, []).extend(records)
        ends = {partition.partition: records[-1].offset + 1 for partition, records in self._arrived.items()}
        if ends and self._member.take_in_hand(ends):
            with self._metrics.timed("decode"):
                self._take()

    def _drop(self, partitions: set[TopicPartition]) -> None:
        for partition in partitions:
            self._arrived.pop(partition, None)
            self._given.pop(partition.partition, None)
        self._waiting = deque(entry for entry in self._waiting if entry.partition not in partitions)
        self._weight = sum(entry.weight for entry in self._waiting)

    def _take(self) -> None:
        if not self._waiting:
            self._first_at = time.monotonic()
        arrived, self._arrived = self._arrived, {}
        for partition, records in arrived.items():
            self._metrics.bytes_in.inc(sum(len(raw.key or b"") + len(raw.value or b"") for raw in records))
            alone = self._member.marks[partition.partition].alone_to > 0
            if alone:
                self._waiting.extend(_Waiting(partition, raw.offset, raw=raw) for raw in records)
                continue
            with self._blamed(f"{self._topic}-{partition.partition}@{records[0].offset} to {records[-1].offset}"):
                for raw in records:
                    entry = self._decoded(partition, raw)
                    self._waiting.append(entry)
                    self._weight += entry.weight

    def _decoded(self, partition: TopicPartition, raw: ConsumerRecord) -> _Waiting[T]:
        value = self._decode_or_refuse(raw)
        weight = 0 if value is None else self._weigh(value)
        record = None if value is None else Record(value, raw)
        return _Waiting(partition, raw.offset, record, weight)

    def _decode_or_refuse(self, raw: ConsumerRecord) -> T | None:
        """The record's value; None for one of a newer schema, once an upgrade has had its time.

        Raises:
            SchemaTooNew: it has not.
        """
        try:
            return self._decode(raw)
        except SchemaTooNew as error:
            now = int(time.time())
            since = upgrade_grace.current((mark.newer_since for mark in self._member.marks.values()), now)
            if since is None:
                self._member.put({raw.partition: replace(self._member.marks[raw.partition], newer_since=now)})
            if since is None or not upgrade_grace.is_over(since, now):
                raise
            self._newer(raw, str(error))
            return None

    def _cut_next(self) -> Iterator[Batch[T]]:
        """The next batch; before and after a record alone an empty one, in which the loop finishes what it has."""
        first = self._waiting[0]
        if first.raw is None:
            yield self._cut()
        elif self._handed_out():
            yield Batch()
        elif (batch := self._cut_alone(first.partition, first.raw)) is not None:
            yield batch

    def _handed_out(self) -> bool:
        """True when anything that was given to the loop is not committed yet."""
        return any(end > self._member.committed[p] for p, end in self._given.items() if p in self.assigned)

    def _cut(self) -> Batch[T]:
        """The oldest records up to the limit's weight; always one at least, however heavy."""
        batch: Batch[T] = Batch()
        weight, most = 0, self._batch_weight
        while self._waiting and self._waiting[0].raw is None:
            entry = self._waiting[0]
            if batch.next_offsets and weight + entry.weight > most:
                break
            self._waiting.popleft()
            weight += entry.weight
            batch.next_offsets[entry.partition.partition] = entry.offset + 1
            if entry.record is not None:
                batch.records.append(entry.record)
        self._weight -= weight
        self._first_at = time.monotonic()
        self._given.update(batch.next_offsets)
        self._metrics.batch(len(batch.records))
        return batch

    def _cut_alone(self, partition: TopicPartition, raw: ConsumerRecord) -> Batch[T] | None:
        """One record, marked before it is touched; None while the group takes no commit. Poison is dealt with."""
        p, offset = partition.partition, raw.offset
        mark = self._member.marks[p].taking_alone(offset)
        if not self._member.put({p: mark}):
            return None
        self._waiting.popleft()
        where, share = f"{self._topic}-{p}@{offset}", share_of_watchdog(len(raw.value or b""))
        batch: Batch[T] = Batch(next_offsets={p: offset + 1}, alone=f"{where}, taken alone", share=share)
        self._given[p] = offset + 1
        if mark.is_poison:
            self._reject_poison(where, raw, mark)
        else:
            with self._blamed(batch.alone), self._watch(batch.alone, share * self._watchdog_s):
                record = self._decoded(partition, raw).record
            batch.records.extend([] if record is None else [record])
        self._metrics.batch(len(batch.records))
        return batch

    def _reject_poison(self, where: str, raw: ConsumerRecord, mark: Mark) -> None:
        if mark.killers >= self._max_killers:
            raise Fatal(
                f"{where}: {mark.killers + 1} records in a row ended the process that had them in hand alone; the "
                "fault is probably not theirs (--max-dead-letters raises the limit)"
            )
        structlog.get_logger().warning("dead letter", reason="killed", record=where, deaths=mark.deaths)
        self._poison(raw, mark.deaths)
