"""Clients of the Kafka in memory: kafka-python's consumer and producer, as far as the product uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.base import MemberState
from kafka.errors import CommitFailedError, FencedInstanceIdError, RebalanceInProgressError
from kafka.structs import OffsetAndMetadata

from bench.in_memory_groups import Member

if TYPE_CHECKING:
    from bench.in_memory import InMemoryKafka

POLL_RECORDS = 500
"""kafka-python's `max_poll_records`."""


class Consumer:
    """kafka-python's consumer, with what `pipeline.membership` and `pipeline.kafka.read_range` use of it."""

    def __init__(self, kafka: InMemoryKafka, group: str | None, client: str, instance: str | None) -> None:
        self._kafka = kafka
        self._group = kafka.group(group)
        self._member = Member(kafka.new_name(client), instance)
        self._topics: list[str] = []
        self._listener: Any = None
        self._positions: dict[TopicPartition, int | None] = {}
        self._paused: set[TopicPartition] = set()
        self._coordinator = self

    # The coordinator's side.

    @property
    def state(self) -> MemberState:
        return MemberState.STABLE if self._group.is_settled(self._member) else MemberState.REBALANCING

    def need_rejoin(self) -> bool:
        return False

    def request_rejoin(self) -> None:
        """Joins at each poll anyhow."""

    def group_metadata(self) -> Any:
        return SimpleNamespace(member_id=self._member.name)

    def subscribe(self, topics: Sequence[str], listener: Any) -> None:
        with self._kafka.changed:
            self._topics, self._listener = list(topics), listener
            self._group.join(self._member, [tp for topic in topics for tp in self._kafka.partitions(topic)])
            self._kafka.changed.notify_all()

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self._positions = dict.fromkeys(partitions)

    def assignment(self) -> set[TopicPartition]:
        return set(self._positions)

    def topics(self) -> set[str]:
        return set(self._topics)

    # Reading.

    def poll(self, timeout_ms: int = 0, max_records: int = POLL_RECORDS) -> dict[TopicPartition, list[ConsumerRecord]]:
        with self._kafka.changed:
            if self._rebalanced():
                return {}
            found = self._fetched(min(max_records, POLL_RECORDS))
            if not found and timeout_ms:
                if self._kafka.at_the_end is not None and not self._paused:
                    self._kafka.at_the_end()
                    return {}
                self._kafka.changed.wait(timeout_ms / 1000)
                found = {} if self._rebalanced() else self._fetched(min(max_records, POLL_RECORDS))
            return found

    def _rebalanced(self) -> bool:
        if self._listener is None:
            return False
        lost, gained = self._group.settle(self._member)
        for partition in lost:
            self._positions.pop(partition, None)
        self._positions |= dict.fromkeys(gained)
        if lost:
            self._listener.on_partitions_revoked(lost)
        if gained:
            self._listener.on_partitions_assigned(gained)
        if lost or gained:
            self._kafka.changed.notify_all()
        return bool(lost or gained)

    def _fetched(self, most: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        found = {}
        for partition, position in self._positions.items():
            if most <= 0 or position is None or partition in self._paused:
                continue
            if some := self._kafka.at(partition).read(position, most):
                found[partition] = some
                self._positions[partition] = position + len(some)
                most -= len(some)
        return found

    def pause(self, *partitions: TopicPartition) -> None:
        self._paused |= set(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self._paused -= set(partitions)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        if partition not in self._positions:
            raise ValueError("Unassigned partition")
        self._positions[partition] = offset

    def position(self, partition: TopicPartition) -> int | None:
        return self._positions[partition]

    def beginning_offsets(self, partitions: Iterable[TopicPartition], **_: object) -> Mapping[TopicPartition, int]:
        return {partition: self._kafka.at(partition).start for partition in partitions}

    def end_offsets(self, partitions: Iterable[TopicPartition], **_: object) -> Mapping[TopicPartition, int]:
        return {partition: self._kafka.at(partition).end for partition in partitions}

    # Committing.

    def committed(self, partition: TopicPartition, **_: object) -> OffsetAndMetadata | None:
        return self._group.offsets.get(partition)

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata], **_: object) -> None:
        """Raises what Kafka does: for one that was replaced, is no member, or has to give partitions back first."""
        with self._kafka.changed:
            if self._listener is None and not self._group.members:
                self._group.offsets.update(offsets)
                return
            if self._member.fenced:
                raise FencedInstanceIdError(self._member.instance)
            if self._member not in self._group.members:
                raise CommitFailedError("not a member")
            if self._group.owes(self._member):
                raise RebalanceInProgressError
            if not offsets.keys() <= self._member.owned:
                raise CommitFailedError("of a partition that is not its own")
            self._group.offsets.update(offsets)

    def close(self, *_: object, **__: object) -> None:
        """Leaves the group, as a static member does not: its partitions wait for its return."""
        with self._kafka.changed:
            if self._member.instance is None:
                self._group.leave(self._member)
            self._positions.clear()
            self._kafka.changed.notify_all()


class Producer:
    """Has each record acknowledged at once."""

    def __init__(self, kafka: InMemoryKafka) -> None:
        self._kafka = kafka

    def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] | None = None,
        partition: int | None = None,
        **_: object,
    ) -> _Acknowledged:
        return _Acknowledged(*self._kafka.append(topic, key, value, partition, headers or ()))

    def flush(self, *_: object) -> None: ...

    def close(self, *_: object, **__: object) -> None: ...


class _Acknowledged:
    is_done = True

    def __init__(self, partition: int, offset: int) -> None:
        self.value = SimpleNamespace(partition=partition, offset=offset)

    def succeeded(self) -> bool:
        return True

    def failed(self) -> bool:
        return False

    def add_callback(self, call: Callable[[Any], object]) -> None:
        call(self.value)

    def add_errback(self, _call: object) -> None: ...
