"""What a stage commits, and when: on a consumer in memory that remembers each commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kafka import TopicPartition
from kafka.coordinator.base import MemberState
from kafka.errors import KafkaTimeoutError
from kafka.structs import OffsetAndMetadata

from pipeline.batches import Batch, BatchSource, Limit
from pipeline.elimination import Mark, read_mark
from pipeline.errors import Fatal, Stopped, TryAgain, WorkFailed
from pipeline.first_positions import Positions, from_committed
from pipeline.kafka import Cluster
from pipeline.metrics import Metrics

PARTITION = TopicPartition("numbers", 0)
RECORDS = 300


@dataclass
class Kafka:
    """One partition and the group's commits; `members` are those that Kafka knows to be there."""

    commits: list[OffsetAndMetadata] = field(default_factory=list)
    members: set[str] = field(default_factory=set)

    @property
    def mark(self) -> Mark:
        return read_mark(self.commits[-1].metadata)

    def describe(self) -> Mapping[str, Any]:
        return {"members": [{"member_id": member} for member in self.members]}


class Consumer:
    def __init__(self, kafka: Kafka, member: str) -> None:
        self._kafka, self._member, self._at, self._paused = kafka, member, 0, False
        self._coordinator = SimpleNamespace(state=MemberState.STABLE, need_rejoin=lambda: False)
        kafka.members.add(member)

    def subscribe(self, _topics: object, listener: Any) -> None:
        listener.on_partitions_assigned([PARTITION])

    def group_metadata(self) -> Any:
        return SimpleNamespace(member_id=self._member)

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        end = self._at if self._paused else min(RECORDS, self._at + min(max_records, 100))
        some = [
            SimpleNamespace(topic="numbers", partition=0, offset=at, key=b"", value=str(at).encode())
            for at in range(self._at, end)
        ]
        self._at = end
        return {PARTITION: some} if some else {}

    def pause(self, *partitions: TopicPartition) -> None:
        self._paused = bool(partitions)

    def resume(self, *_: TopicPartition) -> None:
        self._paused = False

    def assignment(self) -> set[TopicPartition]:
        return {PARTITION}

    def beginning_offsets(self, partitions: Iterable[TopicPartition], **_: object) -> Mapping[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    def end_offsets(self, partitions: Iterable[TopicPartition], **_: object) -> Mapping[TopicPartition, int]:
        return dict.fromkeys(partitions, RECORDS)

    def seek(self, _partition: TopicPartition, offset: int) -> None:
        self._at = offset

    def committed(self, *_: object, **__: object) -> OffsetAndMetadata | None:
        return self._kafka.commits[-1] if self._kafka.commits else None

    def commit(self, values: Mapping[TopicPartition, OffsetAndMetadata], **_: object) -> None:
        self._kafka.commits += values.values()

    def topics(self) -> None: ...

    def close(self, *_: object, **__: object) -> None:
        self._kafka.members.discard(self._member)


def read(
    kafka: Kafka,
    work: Callable[[Batch[int]], object],
    member: str = "a",
    positions: Positions = from_committed("group", "make them again"),  # noqa: B008 - a function
) -> list[int]:
    """Reads to the end, or to an error in `work`; what was convicted."""
    stopping = threading.Event()
    convicted: list[int] = []
    cluster = SimpleNamespace(
        consumer=lambda *_, **__: Consumer(kafka, member),
        admin=SimpleNamespace(describe_groups=lambda groups: dict.fromkeys(groups, kafka.describe())),
        call=lambda ask: ask(),
    )
    source: BatchSource[int] = BatchSource(
        cast("Cluster", cluster),
        "numbers",
        "group",
        decode=lambda raw: int(raw.value),
        poison=lambda raw, _: convicted.append(raw.offset),
        newer=lambda _, __: None,
        weigh=lambda _: 1,
        limit=Limit(50, 0.01),
        positions=positions,
        stopping=stopping,
        metrics=Metrics("test"),
    )
    with source:
        for batch in source.batches():
            with source.work(batch):
                work(batch)
            source.commit(batch.next_offsets)
            if kafka.commits[-1].offset == RECORDS:
                stopping.set()
    return convicted


def over(number: int, error: BaseException) -> Callable[[Batch[int]], None]:
    def work(batch: Batch[int]) -> None:
        if number in batch.values:
            raise error

    return work


def nothing(_: Batch[int]) -> None: ...


def test_while_nobody_dies_there_is_one_commit_a_batch_and_one_at_each_end() -> None:
    kafka = Kafka()
    read(kafka, nothing)
    assert [at.offset for at in kafka.commits] == [0, *range(50, RECORDS + 1, 50), RECORDS]
    assert kafka.commits[-1].metadata == ""
    assert max(len(at.metadata) for at in kafka.commits) < 100


@pytest.mark.parametrize("error", [KeyError("x"), TryAgain("merges came to nothing"), BaseException("a Rust panic")])
def test_an_error_over_the_work_leaves_the_mark_and_the_fifth_convicts(error: BaseException) -> None:
    kafka = Kafka()
    for deaths in range(5):
        with pytest.raises(TryAgain):
            read(kafka, over(117, error), str(deaths))
        assert kafka.mark.owner == str(deaths)
    assert kafka.mark.at == 117
    assert read(kafka, over(117, error)) == [117]
    assert kafka.commits[-1].metadata == ""


def test_an_error_that_is_none_of_ours_ends_with_another_try_that_names_the_records() -> None:
    kafka = Kafka()
    with pytest.raises(WorkFailed, match="50 records of numbers: unexpected KeyError: 'x'"):
        read(kafka, over(117, KeyError("x")))


def test_work_that_is_broken_off_for_a_stop_is_no_failure_of_it() -> None:
    with pytest.raises(Stopped):
        read(Kafka(), over(117, Stopped()))


@pytest.mark.parametrize("error", [Fatal("the disk is full"), KeyboardInterrupt()])
def test_an_error_whose_meaning_is_known_is_nobodys_fault(error: BaseException) -> None:
    kafka = Kafka()
    for _ in range(9):
        with pytest.raises(type(error)):
            read(kafka, over(117, error))
        assert kafka.commits[-1].metadata == ""
    assert read(kafka, nothing) == []


def test_who_is_in_the_group_still_is_not_dead() -> None:
    """A partition that went from a member to another in a rebalance."""
    kafka = Kafka([OffsetAndMetadata(100, '{"owner":"b"}', -1)], {"b"})
    sizes: list[int] = []
    read(kafka, lambda batch: sizes.append(len(batch.records)))
    assert max(sizes) == 50
    kafka = Kafka([OffsetAndMetadata(100, '{"owner":"b"}', -1)])
    sizes.clear()
    read(kafka, lambda batch: sizes.append(len(batch.records)))
    assert max(sizes) == 50 // 8


def test_a_mark_beside_another_offset_than_the_one_to_begin_at_says_nothing() -> None:
    """An operator has set the group back: `pipeline.replay`, or a table that was rebuilt."""
    kafka = Kafka([OffsetAndMetadata(100, '{"owner":"b","alone_to":200}', -1)])
    sizes: list[int] = []
    read(kafka, lambda batch: sizes.append(len(batch.records)), positions=lambda _, starts: starts)
    assert max(sizes) == 50


def test_a_stop_while_kafka_is_away_leaves_the_name_there(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = Kafka()
    commit = Consumer.commit

    def away(self: Consumer, values: Mapping[TopicPartition, OffsetAndMetadata], **options: object) -> None:
        if not read_mark(next(iter(values.values())).metadata).owner:
            raise KafkaTimeoutError
        commit(self, values, **options)

    monkeypatch.setattr(Consumer, "commit", away)
    read(kafka, nothing)
    assert kafka.mark == Mark(owner="a")
