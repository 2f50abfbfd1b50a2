"""Reads a topic as decoded batches, as one member of a consumer group.

Between two batches the group may take partitions away or bring others. A partition that is gone takes its records
with it, uncommitted: its new owner starts at the committed offset. A partition that is new starts where the stage's
`Positions` rule says, which is committed at once, and the commit of an offset below one already committed is left
out, so that committed offsets never go back.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.base import MemberState
from kafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from kafka.structs import OffsetAndMetadata

from pipeline.errors import CirrostreamError, Fatal, TryAgain
from pipeline.kafka import Cluster
from pipeline.kafka_errors import in_words, translated
from pipeline.metrics import Metrics

T = TypeVar("T")

POLL_MS = 200
JOIN_MS = 3_000
COMMIT_TIMEOUT_MS = 5_000
COMMIT_DEADLINE_S = POLL_DEADLINE_S = 60.0
FORGOTTEN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Record(Generic[T]):
    """A decoded message and where it stands."""

    value: T
    key: bytes
    partition: int
    offset: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """Records in partition order, and what to commit once they are done with.

    Empty when nothing came for a while, so that the loop can turn and settle what is still open.
    """

    records: list[Record[T]] = field(default_factory=list)
    next_offsets: dict[int, int] = field(default_factory=dict)

    @property
    def values(self) -> list[T]:
        return [record.value for record in self.records]


@dataclass(frozen=True, slots=True)
class Limit:
    """Bounds one batch: it is cut at `weight`, or when its first record has waited for `seconds`."""

    weight: int
    seconds: float


class Positions(Protocol):
    """Where to start reading partitions that have just been assigned."""

    def __call__(self, committed: Mapping[int, int | None], log_starts: Mapping[int, int]) -> Mapping[int, int]:
        """Next offset for each partition. Raises Fatal when it would leave a gap."""


def from_committed(group: str, remedy: str) -> Positions:
    """The committed offset, or the log's start for a group that has none; a gap between them is fatal."""

    def positions(committed: Mapping[int, int | None], log_starts: Mapping[int, int]) -> Mapping[int, int]:
        for partition, offset in committed.items():
            if offset is not None and offset < log_starts[partition]:
                raise Fatal(
                    f"group {group}, partition {partition}: records {offset} to {log_starts[partition] - 1} are gone "
                    f"and were not processed; {remedy}"
                )
        return {p: log_starts[p] if offset is None else offset for p, offset in committed.items()}

    return positions


class BatchSource(Generic[T]):
    """Batches of one topic for one member of a group.

    `decode` gives the value, or None for a record that it has dealt with itself (poison, sent to the dead
    letters); such a record is committed with its neighbours.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        group: str,
        *,
        decode: Callable[[ConsumerRecord], T | None],
        weigh: Callable[[T], int],
        limit: Limit,
        positions: Positions,
        stopping: threading.Event,
        metrics: Metrics,
        turned: Callable[[], None] = lambda: None,
        group_instance_id: str | None = None,
        session_timeout_s: float = 10.0,
        max_poll_interval_s: float = 900.0,
    ) -> None:
        self._topic = topic
        self._group = group
        self._decode = decode
        self._weigh = weigh
        self._limit = limit
        self._positions = positions
        self._stopping = stopping
        self._metrics = metrics
        self._turned = turned
        self._cluster = cluster
        self._unassigned_since = time.monotonic()
        self._failing_since: float | None = None
        self._waiting: deque[tuple[Record[T] | None, TopicPartition, int, int]] = deque()
        self._weight = 0
        self._first_at = 0.0
        self._committed: dict[int, int] = {}
        self._done: dict[int, int] = {}
        self._listener = _Assignment()
        self._consumer = cluster.consumer(
            group,
            client_id=f"cirrostream-{metrics.stage}",
            group_instance_id=group_instance_id,
            partition_assignment_strategy=(CooperativeStickyAssignor,),
            session_timeout_ms=int(session_timeout_s * 1000),
            heartbeat_interval_ms=max(100, int(session_timeout_s * 100)),
            max_poll_interval_ms=int(max_poll_interval_s * 1000),
            fetch_max_wait_ms=POLL_MS,
        )
        with translated(self._who):
            self._consumer.subscribe([topic], listener=self._listener)
            # Asked for before the first poll: a leader that does not know the partitions yet assigns none.
            self._consumer.topics()
        self._metrics.assigned_partitions.set(0)

    def batches(self) -> Iterator[Batch[T]]:
        """Batches until the process is asked to stop; empty ones while nothing comes."""
        while not self._stopping.is_set():
            self._turned()
            self._die_if_forgotten()
            if self._is_joining():
                self._poll(JOIN_MS)
                continue
            self._poll(0 if self._is_due() else POLL_MS)
            self._commit_done()
            if self._is_due():
                yield self._cut()
            elif not self._waiting:
                yield Batch()

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        """Commits these offsets, for the partitions that are still ours.

        A commit that the group refuses, for it is rebalancing, is tried again at the next turn: nothing else might come
        in a partition that stays ours. For one that does not stay, it is dropped: its new owner does the work again.

        Raises:
            Replaced: another member has this one's `group_instance_id`.
            TryAgain: Kafka did not answer for a minute.
        """
        for partition, offset in next_offsets.items():
            self._done[partition] = max(offset, self._done.get(partition, 0))
        self._commit_done()

    def _commit_done(self) -> None:
        ours = {partition.partition for partition in self._listener.owned}
        offsets = {p: o for p, o in self._done.items() if p in ours and o > self._committed.get(p, -1)}
        if offsets and self._commit(offsets):
            self._committed.update(offsets)
        self._done = {p: o for p, o in self._done.items() if p in ours and o > self._committed.get(p, -1)}

    @property
    def assigned(self) -> set[int]:
        """Partitions that are ours at the moment."""
        return {partition.partition for partition in self._listener.owned}

    def close(self) -> None:
        """Leaves the group. A static member does not: its partitions wait for its return."""
        with contextlib.suppress(KafkaError):  # a group that cannot be told finds out by itself
            self._consumer.close(autocommit=False, timeout_ms=5_000)

    @property
    def _who(self) -> str:
        return f"group {self._group} on {self._topic}"

    def _is_joining(self) -> bool:
        """Whether the group is rebalancing: then nothing but polls, long ones, until it has settled.

        kafka-python 3.0.12 takes the result of a join only inside the poll that waits for it. A join that ends
        between two polls is started anew, which sets off the next rebalance, and with batches of seconds that never
        ends; one that newer metadata set off is forgotten altogether (see docs/decisions/0004-groups.md).
        """
        coordinator = self._consumer._coordinator
        if coordinator.state is MemberState.STABLE and not coordinator.need_rejoin():
            return False
        coordinator.request_rejoin()
        return True

    def _die_if_forgotten(self) -> None:
        """A member without partitions is a spare, unless there are partitions without a member: then it is a stall."""
        now = time.monotonic()
        if self._listener.owned:
            self._unassigned_since = now
        elif now - self._unassigned_since > FORGOTTEN_SECONDS:
            self._unassigned_since = now
            described = self._cluster.call(lambda: self._cluster.admin.describe_groups([self._group]))[self._group]
            if described["group_state"] == "Stable" and not any(map(_has_partitions, described["members"])):
                raise TryAgain(f"group {self._group}: stable, but nobody has been given a partition of {self._topic}")

    def _is_due(self) -> bool:
        if not self._waiting:
            return False
        return self._weight >= self._limit.weight or time.monotonic() - self._first_at >= self._limit.seconds

    def _poll(self, timeout_ms: int) -> None:
        full = self._weight >= self._limit.weight
        paused = self._consumer.assignment() if full else set()
        self._consumer.pause(*paused)  # a full buffer takes no more, but the group must see us at every turn
        asked_at = time.perf_counter()
        try:
            polled: dict[TopicPartition, list[ConsumerRecord]] = self._consumer.poll(timeout_ms=timeout_ms)
        except NoOffsetForPartitionError:
            polled = {}
        except OffsetOutOfRangeError as error:
            raise Fatal(f"group {self._group}: its position is no longer in {self._topic}: {error}") from error
        except KafkaError as error:
            polled = self._after_failure(in_words(error, self._who))
        else:
            self._failing_since = None
        self._consumer.resume(*(paused & self._consumer.assignment()))
        if polled:  # the wait of an idle stage is no step
            self._metrics.took("fetch", time.perf_counter() - asked_at)
        self._settle(polled)
        if polled:
            with self._metrics.timed("decode"):
                self._take(polled)

    def _after_failure(self, problem: CirrostreamError) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Nothing for now, when it may pass; raises what does not, or has not for a minute."""
        now = time.monotonic()
        self._failing_since = now if self._failing_since is None else self._failing_since
        if not isinstance(problem, TryAgain) or now - self._failing_since > POLL_DEADLINE_S:
            raise problem
        self._metrics.retry("poll")
        self._stopping.wait(POLL_MS / 1000)
        return {}

    def _settle(self, polled: dict[TopicPartition, list[ConsumerRecord]]) -> None:
        """Brings the buffer in line with the latest assignment, and new partitions to their positions."""
        gained, lost = self._listener.changes()
        if not gained and not lost:
            return
        self._metrics.rebalances.inc()
        self._metrics.assigned_partitions.set(len(self._listener.owned))
        self._drop(gained | lost)
        for partition in gained | lost:
            polled.pop(partition, None)
            self._committed.pop(partition.partition, None)
            self._done.pop(partition.partition, None)
        if gained:
            self._seek(gained)

    def _seek(self, gained: Iterable[TopicPartition]) -> None:
        with translated(self._who):
            starts = self._consumer.beginning_offsets(list(gained), timeout_ms=30_000)
            committed = {tp.partition: self._consumer.committed(tp, timeout_ms=30_000) for tp in gained}
        chosen = self._positions(committed, {tp.partition: offset for tp, offset in starts.items()})
        for partition in gained:
            if partition in self._listener.owned:
                self._move(partition, chosen[partition.partition])
        self._announce(committed, chosen)

    def _move(self, partition: TopicPartition, offset: int) -> None:
        try:
            self._consumer.seek(partition, offset)
        except (KafkaError, ValueError) as error:  # kafka-python: "Unassigned partition"
            raise TryAgain(f"{self._who}: partition {partition.partition} went while it came: {error}") from error

    def _announce(self, committed: Mapping[int, int | None], chosen: Mapping[int, int]) -> None:
        """Commits a first position, or one that had to go back: lag and trimming must not believe an old one."""
        self._committed.update({p: offset for p, offset in committed.items() if offset is not None})
        lower = {p: at for p, at in chosen.items() if at < self._committed.get(p, at + 1)}
        if lower and self._commit(lower):
            self._committed.update(lower)

    def _drop(self, partitions: set[TopicPartition]) -> None:
        self._waiting = deque(entry for entry in self._waiting if entry[1] not in partitions)
        self._weight = sum(entry[3] for entry in self._waiting)

    def _take(self, polled: dict[TopicPartition, list[ConsumerRecord]]) -> None:
        if not self._waiting:
            self._first_at = time.monotonic()
        for partition, records in polled.items():
            self._metrics.bytes_in.inc(sum(len(raw.key or b"") + len(raw.value or b"") for raw in records))
            for raw in records:
                value = self._decode(raw)
                weight = 0 if value is None else self._weigh(value)
                record = None if value is None else Record(value, raw.key, raw.partition, raw.offset, raw.value)
                self._waiting.append((record, partition, raw.offset, weight))
                self._weight += weight

    def _cut(self) -> Batch[T]:
        """The oldest records up to the limit's weight; always one at least, however heavy."""
        batch: Batch[T] = Batch()
        weight = 0
        while self._waiting and (not batch.next_offsets or weight + self._waiting[0][3] <= self._limit.weight):
            record, partition, offset, its_weight = self._waiting.popleft()
            weight += its_weight
            batch.next_offsets[partition.partition] = offset + 1
            if record is not None:
                batch.records.append(record)
        self._weight -= weight
        self._first_at = time.monotonic()
        self._metrics.batch(len(batch.records))
        return batch

    def _commit(self, offsets: Mapping[int, int]) -> bool:
        values = {TopicPartition(self._topic, p): OffsetAndMetadata(o, "", -1) for p, o in offsets.items()}
        deadline = time.monotonic() + COMMIT_DEADLINE_S
        while True:
            try:
                with self._metrics.timed("commit"):
                    self._consumer.commit(values, timeout_ms=COMMIT_TIMEOUT_MS)
                return True
            except (CommitFailedError, IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError):
                self._metrics.retry("commit_refused")
                return False
            except KafkaError as error:
                problem = in_words(error, f"{self._who}: commit")
                if not isinstance(problem, TryAgain) or time.monotonic() > deadline:
                    raise problem from error
                self._metrics.retry("commit")
                self._turned()


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """Remembers what the group gave and took; the reading thread acts on it between two polls."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.owned: set[TopicPartition] = set()
        self._gained: set[TopicPartition] = set()
        self._lost: set[TopicPartition] = set()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        with self._lock:
            self._gained |= set(assigned) - self.owned
            self.owned = self.owned | set(assigned)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        with self._lock:
            self._lost |= set(revoked)
            self._gained -= set(revoked)
            self.owned = self.owned - set(revoked)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self.on_partitions_revoked(lost)

    def changes(self) -> tuple[set[TopicPartition], set[TopicPartition]]:
        """What was gained and lost since the last call; a partition lost and regained is in both."""
        with self._lock:
            changes = self._gained, self._lost
            self._gained, self._lost = set(), set()
            return changes


def _has_partitions(member: Mapping[str, Any]) -> bool:
    return any(topic["partitions"] for topic in member["member_assignment"]["assigned_partitions"])
