"""Reads a topic as decoded batches, as one member of a consumer group.

Between two batches the group may take partitions away or bring others. A partition that is gone takes its records
with it, uncommitted: its new owner starts at the committed offset. A partition that is new starts where the stage's
`Positions` rule says, which is committed at once, and the commit of an offset below one already committed is left
out, so that committed offsets never go back.

What was in hand when a process died may be what killed it: `pipeline.elimination` says how such records are taken then,
and which of them is the one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

import structlog
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
from msgspec.structs import replace

from pipeline import upgrade_grace
from pipeline.elimination import (
    CAREFUL_RECORDS,
    CAREFUL_SHARE,
    LETTERS_A_KILLER,
    Mark,
    metadata_of,
    read_mark,
    share_of_watchdog,
)
from pipeline.errors import CirrostreamError, Fatal, TryAgain, WorkFailed
from pipeline.kafka import Cluster
from pipeline.kafka_errors import in_words, translated
from pipeline.metrics import Metrics
from pipeline.records import SchemaTooNew
from pipeline.service import Watch, unwatched

T = TypeVar("T")

POLL_MS = 200
JOIN_MS = 3_000
COMMIT_TIMEOUT_MS = 5_000
COMMIT_DEADLINE_S = POLL_DEADLINE_S = 60.0
RELEASE_TIMEOUT_MS = 2_000
POLL_RECORDS = 500
MAX_POLL_INTERVAL_S = 8 * 3600.0
"""Above whatever one turn may take (a page of 5 MB on a slow CPU, a step of upkeep): who stalls is ended by its own
watchdog, and sooner; who is slow and thrown out would do the same work again for ever."""
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


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[T]):
    """What has come and is not in a batch yet: decoded, or `raw` where it is to be decoded alone."""

    partition: TopicPartition
    offset: int
    record: Record[T] | None = None
    weight: int = 0
    raw: ConsumerRecord | None = None


class Interrupted(Exception):
    """The batch in hand is dropped, uncommitted, for the process is to stop."""


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
    letters); such a record is committed with its neighbours. `convict` deals with a record that ends its process, after
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
        convict: Callable[[ConsumerRecord, int], None],
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
        self._group = group
        self._decode = decode
        self._convict = convict
        self._newer = newer
        self._weigh = weigh
        self._limit = limit
        self._positions = positions
        self._stopping = stopping
        self._metrics = metrics
        self._turned = turned
        self._watch = watch
        self._watchdog_s = watchdog_s
        self._max_killers = -(-max_letters_in_a_row // LETTERS_A_KILLER)
        self._cluster = cluster
        self._unassigned_since = time.monotonic()
        self._failing_since: float | None = None
        self._arrived: dict[TopicPartition, list[ConsumerRecord]] = {}
        self._waiting: deque[_Waiting[T]] = deque()
        self._weight = 0
        self._first_at = 0.0
        self._committed: dict[int, int] = {}
        self._marks: dict[int, Mark] = {}
        self._unmarked: set[int] = set()
        self._names: set[str] = set()
        self._suspected = False
        self._done: dict[int, int] = {}
        self._given: dict[int, int] = {}
        self._listener = _Assignment()
        self._consumer = cluster.consumer(
            group,
            client_id=f"cirrostream-{metrics.stage}",
            group_instance_id=group_instance_id,
            partition_assignment_strategy=(CooperativeStickyAssignor,),
            session_timeout_ms=int(session_timeout_s * 1000),
            heartbeat_interval_ms=max(100, int(session_timeout_s * 100)),
            max_poll_interval_ms=int(MAX_POLL_INTERVAL_S * 1000),
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
                yield from self._cut_next()
            elif not self._waiting:
                yield Batch()

    @contextmanager
    def work(self, batch: Batch[T]) -> Iterator[None]:
        """Work on a batch: what goes wrong in it is put down to its records, which come again one at a time.

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
        except (CirrostreamError, Interrupted, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # Rust's panics are no Exceptions
            self._suspected = True
            structlog.get_logger().debug("work failed", exc_info=True)
            raise WorkFailed(f"unexpected {type(error).__name__} over {what}: {error}") from error

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
        if offsets:
            self._commit(offsets, {p: self._marks[p].passed(o) for p, o in offsets.items()})
        self._done = {p: o for p, o in self._done.items() if p in ours and o > self._committed.get(p, -1)}

    @property
    def assigned(self) -> set[int]:
        """Partitions that are ours at the moment."""
        return {partition.partition for partition in self._listener.owned}

    def __enter__(self) -> BatchSource[T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leaves the group. What was in hand is under suspicion unless the end has nothing to do with it."""
        if not self._suspected and (error is None or isinstance(error, CirrostreamError | KeyboardInterrupt)):
            self._release()
        self.close()

    def _release(self) -> None:
        """Takes our name back from the commits; where that fails, the next owner takes care in vain."""
        released = {p: mark.released() for p, mark in self._marks.items() if p in self.assigned}
        values = self._values({p: self._committed[p] for p in released}, released)
        with suppress(KafkaError):
            self._consumer.commit(values, timeout_ms=RELEASE_TIMEOUT_MS)

    def close(self) -> None:
        """Leaves the group as it is. A static member does not: its partitions wait for its return."""
        with suppress(KafkaError):  # a group that cannot be told finds out by itself
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
            described = self._described()
            if described["group_state"] == "Stable" and not any(map(_has_partitions, described["members"])):
                raise TryAgain(f"group {self._group}: stable, but nobody has been given a partition of {self._topic}")

    def _described(self) -> Mapping[str, Any]:
        described: Mapping[str, Any] = self._cluster.call(
            lambda: self._cluster.admin.describe_groups([self._group])[self._group]
        )
        return described

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
        careful = any(mark.careful for mark in self._marks.values())
        return max(1, self._limit.weight // CAREFUL_SHARE) if careful else self._limit.weight

    def _poll(self, timeout_ms: int) -> None:
        full = self._is_full() or bool(self._arrived) or any(entry.raw is not None for entry in self._waiting)
        paused = self._consumer.assignment() if full else set()
        self._consumer.pause(*paused)  # a full buffer takes no more, but the group must see us at every turn
        asked_at = time.perf_counter()
        try:
            polled: dict[TopicPartition, list[ConsumerRecord]] = self._consumer.poll(
                timeout_ms=timeout_ms, max_records=self._poll_records
            )
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
        for partition, records in polled.items():
            self._arrived.setdefault(partition, []).extend(records)
        if self._arrived and self._mark_arrived():
            with self._metrics.timed("decode"):
                self._take()

    @property
    def _poll_records(self) -> int:
        return CAREFUL_RECORDS if any(mark.careful for mark in self._marks.values()) else POLL_RECORDS

    def _mark_arrived(self) -> bool:
        """Marks what is about to be in hand, where that is needed; False while the group takes no commit."""
        marks = {}
        for partition, records in self._arrived.items():
            number = partition.partition
            marks[number] = self._marks[number].taking(records[-1].offset + 1)
        return self._put({p: mark for p, mark in marks.items() if p in self._unmarked or mark != self._marks[p]})

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
            for mine in (polled, self._arrived):
                mine.pop(partition, None)
            for its in (self._committed, self._done, self._given, self._marks):
                its.pop(partition.partition, None)
            self._unmarked.discard(partition.partition)
        if gained:
            self._seek(gained)

    def _seek(self, gained: Iterable[TopicPartition]) -> None:
        with translated(self._who):
            starts = self._consumer.beginning_offsets(list(gained), timeout_ms=30_000)
            found = {tp.partition: self._committed_at(tp) for tp in gained}
        committed = {p: None if at is None else at.offset for p, at in found.items()}
        chosen = self._positions(committed, {tp.partition: offset for tp, offset in starts.items()})
        owned = [partition for partition in gained if partition in self._listener.owned]
        for partition in owned:
            self._move(partition, chosen[partition.partition])
        marks = {
            p: read_mark(at.metadata if at is not None and at.offset == chosen[p] else None) for p, at in found.items()
        }
        self._take_over({tp: (chosen[tp.partition], marks[tp.partition]) for tp in owned})

    def _move(self, partition: TopicPartition, offset: int) -> None:
        try:
            self._consumer.seek(partition, offset)
        except (KafkaError, ValueError) as error:  # kafka-python: "Unassigned partition"
            raise TryAgain(f"{self._who}: partition {partition.partition} went while it came: {error}") from error

    def _committed_at(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        self._turned()
        return self._consumer.committed(partition, metadata=True, timeout_ms=30_000)

    def _take_over(self, found: Mapping[TopicPartition, tuple[int, Mark]]) -> None:
        """Begins where the owners before have ended, in an orderly way or not, and says at once that we have it.

        That commits a first position too, and one that had to go back: lag and trimming must not believe an old one.
        """
        dead = self._dead({mark.owner for _, mark in found.values()})
        ends = self._ends({tp: at for tp, (at, mark) in found.items() if mark.owner in dead})
        for partition, (at, mark) in found.items():
            p = partition.partition
            mine = mark.after_death(at, ends[partition]) if mark.owner in dead else mark.released()
            if mine.careful:
                self._say_careful(partition, mine)
            self._committed[p], self._marks[p] = at, mine
            self._unmarked.add(p)
        self._put({tp.partition: self._marks[tp.partition] for tp in found})

    def _dead(self, owners: set[str]) -> set[str]:
        """Those who have left the group without a word. A rebalance alone is no death: they are in the group still."""
        others = owners - self._names - {""}
        return others - {member["member_id"] for member in self._described()["members"]} if others else others

    def _ends(self, committed: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Up to where a dead owner may have had records in hand: of each batch, one waited, one was worked on, one was
        on its way."""
        if not committed:
            return {}
        with translated(self._who):
            ends = self._consumer.end_offsets(list(committed), timeout_ms=30_000)
        most = 3 * self._limit.weight + POLL_RECORDS
        return {tp: min(ends[tp], at + most) for tp, at in committed.items()}

    def _say_careful(self, partition: TopicPartition, mark: Mark) -> None:
        where = f"{self._topic}-{partition.partition}"
        log = structlog.get_logger()
        if mark.alone_to:
            log.warning("taken one at a time: processes ended over these", partition=where, before=mark.alone_to)
        else:
            log.info("taken with care: a process has died", partition=where, before=mark.careful_to)

    def _drop(self, partitions: set[TopicPartition]) -> None:
        self._waiting = deque(entry for entry in self._waiting if entry.partition not in partitions)
        self._weight = sum(entry.weight for entry in self._waiting)

    def _take(self) -> None:
        if not self._waiting:
            self._first_at = time.monotonic()
        arrived, self._arrived = self._arrived, {}
        for partition, records in arrived.items():
            self._metrics.bytes_in.inc(sum(len(raw.key or b"") + len(raw.value or b"") for raw in records))
            alone = self._marks[partition.partition].alone_to > 0
            for raw in records:
                entry: _Waiting[T] = (
                    _Waiting(partition, raw.offset, raw=raw) if alone else self._decoded(partition, raw)
                )
                self._waiting.append(entry)
                self._weight += entry.weight

    def _decoded(self, partition: TopicPartition, raw: ConsumerRecord) -> _Waiting[T]:
        with self._blamed(f"{raw.topic}-{raw.partition}@{raw.offset}"):
            value = self._decode_or_refuse(raw)
            weight = 0 if value is None else self._weigh(value)
        record = None if value is None else Record(value, raw.key, raw.partition, raw.offset, raw.value)
        return _Waiting(partition, raw.offset, record, weight)

    def _decode_or_refuse(self, raw: ConsumerRecord) -> T | None:
        """Its value; None for one of a newer schema, once an upgrade has had its time.

        Raises:
            SchemaTooNew: it has not.
        """
        try:
            return self._decode(raw)
        except SchemaTooNew as error:
            now = int(time.time())
            since = upgrade_grace.current((mark.newer_since for mark in self._marks.values()), now)
            if since is None:
                self._put({raw.partition: replace(self._marks[raw.partition], newer_since=now)})
            if since is None or not upgrade_grace.is_over(since, now):
                raise
            self._newer(raw, f"{raw.topic}-{raw.partition}@{raw.offset}: {error}")
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
        """Whether anything that was given to the loop is not committed yet."""
        return any(end > self._committed[p] for p, end in self._given.items() if p in self.assigned)

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
        """One record, marked before it is touched; None while the group takes no commit. A culprit is dealt with."""
        p, offset = partition.partition, raw.offset
        mark = self._marks[p].taking_alone(offset)
        if not self._put({p: mark}):
            return None
        self._waiting.popleft()
        where, share = f"{self._topic}-{p}@{offset}", share_of_watchdog(len(raw.value or b""))
        batch: Batch[T] = Batch(next_offsets={p: offset + 1}, alone=f"{where}, taken alone", share=share)
        self._given[p] = offset + 1
        if mark.convicts:
            self._condemn(where, raw, mark)
        else:
            with self._watch(batch.alone, share * self._watchdog_s):
                record = self._decoded(partition, raw).record
            batch.records.extend([] if record is None else [record])
        self._metrics.batch(len(batch.records))
        return batch

    def _condemn(self, where: str, raw: ConsumerRecord, mark: Mark) -> None:
        if mark.killers >= self._max_killers:
            raise Fatal(
                f"{where}: {mark.killers + 1} records in a row ended the process that had them in hand alone; the "
                "fault is probably not theirs (--max-dead-letters raises the limit)"
            )
        structlog.get_logger().warning("dead letter", reason="killed", record=where, deaths=mark.deaths)
        self._convict(raw, mark.deaths)

    def _put(self, marks: Mapping[int, Mark]) -> bool:
        """Commits marks where we are. False when the group refuses it: it is rebalancing."""
        return not marks or self._commit({p: self._committed[p] for p in marks}, marks)

    def _values(self, offsets: Mapping[int, int], marks: Mapping[int, Mark]) -> dict[TopicPartition, OffsetAndMetadata]:
        return {
            TopicPartition(self._topic, p): OffsetAndMetadata(o, metadata_of(marks[p]), -1) for p, o in offsets.items()
        }

    def _commit(self, offsets: Mapping[int, int], marks: Mapping[int, Mark]) -> bool:
        """Commits offsets with their marks, in our name."""
        member = self._consumer.group_metadata().member_id
        self._names.add(member)
        ours = {p: replace(mark, owner=member) for p, mark in marks.items()}
        values = self._values(offsets, ours)
        deadline = time.monotonic() + COMMIT_DEADLINE_S
        while True:
            try:
                with self._metrics.timed("commit"):
                    self._consumer.commit(values, timeout_ms=COMMIT_TIMEOUT_MS)
                self._committed.update(offsets)
                self._marks.update(ours)
                self._unmarked -= offsets.keys()
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
