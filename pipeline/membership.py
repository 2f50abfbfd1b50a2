"""One member of a consumer group on one topic: what it is assigned, where that begins, and what it commits.

The group may take partitions away or bring others at each poll. One that is new begins where the stage's `Positions`
rule says, which is committed at once, with a mark in this member's name; an offset below one already committed is left
out, so that committed offsets never go back. `pipeline.elimination` says what marks are for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

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

from pipeline.elimination import CAREFUL_RECORDS, Mark, metadata_of, read_mark
from pipeline.errors import CirrostreamError, Fatal, TryAgain
from pipeline.first_positions import Positions
from pipeline.kafka import Cluster
from pipeline.kafka_errors import in_words, translated
from pipeline.metrics import Metrics

Polled = dict[TopicPartition, list[ConsumerRecord]]

POLL_MS = 200
JOIN_MS = 3_000
POLL_RECORDS = 500
COMMIT_TIMEOUT_MS = 5_000
RELEASE_TIMEOUT_MS = 2_000
COMMIT_DEADLINE_S = POLL_DEADLINE_S = 60.0
MAX_POLL_INTERVAL_S = 8 * 3600.0
"""Above whatever one turn may take (a page of 5 MB on a slow CPU, a step of upkeep): who stalls is ended by its own
watchdog, and sooner; who is slow and thrown out would do the same work again for ever."""
FORGOTTEN_SECONDS = 30.0


class Membership:
    """A member of a group, from its first poll until it is closed.

    `in_hand` bounds the records of a partition that a member of this group may have in hand at once.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        group: str,
        *,
        positions: Positions,
        in_hand: int,
        stopping: threading.Event,
        metrics: Metrics,
        turned: Callable[[], None],
        group_instance_id: str | None,
        session_timeout_s: float,
    ) -> None:
        self._cluster = cluster
        self._topic = topic
        self._group = group
        self._positions = positions
        self._in_hand = in_hand
        self._stopping = stopping
        self._metrics = metrics
        self._turned = turned
        self._unassigned_since = time.monotonic()
        self._failing_since: float | None = None
        self._unmarked: set[int] = set()
        self._names: set[str] = set()
        self._done: dict[int, int] = {}
        self.committed: dict[int, int] = {}
        """Where each partition of ours stands in Kafka."""
        self.marks: dict[int, Mark] = {}
        """The mark of each: it is in Kafka before its records are in hand."""
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

    @property
    def assigned(self) -> set[int]:
        """Partitions that are ours at the moment."""
        return {partition.partition for partition in self._listener.owned}

    @property
    def careful(self) -> bool:
        """True when any of them is taken with care, or alone."""
        return any(mark.careful for mark in self.marks.values())

    def is_joining(self) -> bool:
        """True when the group is rebalancing: then nothing but polls, long ones, until it has settled.

        kafka-python 3.0.12 takes the result of a join only inside the poll that waits for it. A join that ends
        between two polls is started anew, which sets off the next rebalance, and with batches of seconds that never
        ends; one that newer metadata set off is forgotten altogether (see docs/decisions/0004-groups.md).
        """
        coordinator = self._consumer._coordinator
        if coordinator.state is MemberState.STABLE and not coordinator.need_rejoin():
            return False
        coordinator.request_rejoin()
        return True

    def die_if_forgotten(self) -> None:
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

    def poll(self, timeout_ms: int, *, full: bool) -> tuple[Polled, set[TopicPartition]]:
        """New records, and the partitions of which everything that came before must be forgotten.

        A `full` buffer takes no more, but the group must see us at every turn.

        Raises:
            CirrostreamError: Kafka refuses us, or has not answered for a minute.
        """
        paused = self._consumer.assignment() if full else set()
        self._consumer.pause(*paused)
        asked_at = time.perf_counter()
        try:
            polled: Polled = self._consumer.poll(
                timeout_ms=timeout_ms, max_records=CAREFUL_RECORDS if self.careful else POLL_RECORDS
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
        changed = self._settle()
        return {partition: records for partition, records in polled.items() if partition not in changed}, changed

    def _after_failure(self, problem: CirrostreamError) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Nothing for now, when it may pass; raises what does not, or has not for a minute."""
        now = time.monotonic()
        self._failing_since = now if self._failing_since is None else self._failing_since
        if not isinstance(problem, TryAgain) or now - self._failing_since > POLL_DEADLINE_S:
            raise problem
        self._metrics.retry("poll")
        self._stopping.wait(POLL_MS / 1000)
        return {}

    def _settle(self) -> set[TopicPartition]:
        """Follows the latest assignment, and brings new partitions to their positions."""
        gained, lost = self._listener.changes()
        changed = gained | lost
        if not changed:
            return changed
        self._metrics.rebalances.inc()
        self._metrics.assigned_partitions.set(len(self._listener.owned))
        for partition in changed:
            for its in (self.committed, self._done, self.marks):
                its.pop(partition.partition, None)
            self._unmarked.discard(partition.partition)
        if gained:
            self._seek(gained)
        return changed

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
            self.committed[p], self.marks[p] = at, mine
            self._unmarked.add(p)
        self.put({tp.partition: self.marks[tp.partition] for tp in found})

    def _dead(self, owners: set[str]) -> set[str]:
        """Those who have left the group without a word. A rebalance alone is no death: they are in the group still."""
        others = owners - self._names - {""}
        return others - {member["member_id"] for member in self._described()["members"]} if others else others

    def _ends(self, committed: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Up to where a dead owner may have had records in hand."""
        if not committed:
            return {}
        with translated(self._who):
            ends = self._consumer.end_offsets(list(committed), timeout_ms=30_000)
        return {tp: min(ends[tp], at + self._in_hand) for tp, at in committed.items()}

    def _say_careful(self, partition: TopicPartition, mark: Mark) -> None:
        where = f"{self._topic}-{partition.partition}"
        log = structlog.get_logger()
        if mark.alone_to:
            log.warning("taken one at a time: processes ended over these", partition=where, before=mark.alone_to)
        else:
            log.info("taken with care: a process has died", partition=where, before=mark.careful_to)

    def take_in_hand(self, ends: Mapping[int, int]) -> bool:
        """Marks, where that is needed, that records up to these ends are about to be in hand.

        False while the group takes no commit, for it is rebalancing: then they must not be.
        """
        marks = {p: self.marks[p].taking(end) for p, end in ends.items()}
        return self.put({p: mark for p, mark in marks.items() if p in self._unmarked or mark != self.marks[p]})

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        """Commits these offsets, as `BatchSource.commit` says."""
        for partition, offset in next_offsets.items():
            self._done[partition] = max(offset, self._done.get(partition, 0))
        self.commit_done()

    def commit_done(self) -> None:
        """Commits what the group has refused before, where it is still ours."""
        ours = self.assigned
        offsets = {p: o for p, o in self._done.items() if p in ours and o > self.committed.get(p, -1)}
        if offsets:
            self._commit(offsets, {p: self.marks[p].passed(o) for p, o in offsets.items()})
        self._done = {p: o for p, o in self._done.items() if p in ours and o > self.committed.get(p, -1)}

    def put(self, marks: Mapping[int, Mark]) -> bool:
        """Commits marks where we are. False when the group refuses it: it is rebalancing."""
        return not marks or self._commit({p: self.committed[p] for p in marks}, marks)

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
                self.committed.update(offsets)
                self.marks.update(ours)
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

    def release(self) -> None:
        """Takes our name back from the commits; where that fails, the next owner takes care in vain."""
        released = {p: mark.released() for p, mark in self.marks.items() if p in self.assigned}
        values = self._values({p: self.committed[p] for p in released}, released)
        with suppress(KafkaError):
            self._consumer.commit(values, timeout_ms=RELEASE_TIMEOUT_MS)

    def close(self) -> None:
        """Leaves the group as it is. A static member does not: its partitions wait for its return."""
        with suppress(KafkaError):  # a group that cannot be told finds out by itself
            self._consumer.close(autocommit=False, timeout_ms=5_000)

    @property
    def _who(self) -> str:
        return f"group {self._group} on {self._topic}"


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
        """Partitions gained and lost since the last call; one lost and regained is in both."""
        with self._lock:
            changes = self._gained, self._lost
            self._gained, self._lost = set(), set()
            return changes


def _has_partitions(member: Mapping[str, Any]) -> bool:
    return any(topic["partitions"] for topic in member["member_assignment"]["assigned_partitions"])
