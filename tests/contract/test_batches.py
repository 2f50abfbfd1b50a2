"""Batches of a consumer group: nothing skipped, nothing committed that is not ours, nothing committed backwards.

Each on the Kafka in memory and on a real one. Who is to blame for the deaths of processes is decided in
`pipeline.elimination`: those tests, of a dozen members each, meet the real one in `make faults`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import cast

import pytest
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.structs import OffsetAndMetadata

from bench.in_memory import InMemoryKafka
from pipeline.batches import Batch, BatchSource, Limit
from pipeline.elimination import Mark, metadata_of, read_mark
from pipeline.errors import Fatal, Replaced
from pipeline.first_positions import Positions, from_committed
from pipeline.kafka import Cluster
from pipeline.metrics import Metrics
from pipeline.publisher import Message, Publisher
from pipeline.records import SchemaTooNew
from pipeline.settings import Settings
from pipeline.upgrade_grace import GRACE_SECONDS
from tests.waiting import wait_until

PARTITIONS = 4
GROUP = "group"
MEMORY, REAL = "memory", pytest.param("real", marks=pytest.mark.broker)
in_memory_and_in_faults = pytest.mark.parametrize(
    "cluster", [MEMORY, pytest.param("real", marks=[pytest.mark.broker, pytest.mark.faults])], indirect=True
)


@pytest.fixture(params=[MEMORY, REAL])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    if request.param == MEMORY:
        yield cast("Cluster", InMemoryKafka())
        return
    request.getfixturevalue("settings_env")()
    cluster = Cluster.connect(Settings())
    yield cluster
    cluster.close()


@pytest.fixture
def topic(cluster: Cluster, namespace: str) -> str:
    name = f"{namespace}.numbers"
    cluster.admin.create_topics({name: {"num_partitions": PARTITIONS, "replication_factor": 1}}, wait_for_metadata=True)
    return name


class Killed(BaseException):
    """The end of a process without a word: nobody catches it but the thread that stands for the process."""


class Reader:
    """A member of the group in a thread of its own, as members are: the group waits for each of them.

    It commits what it reads until `commits` is cleared; then it stops at its next batch, `held`. It is killed by what
    `ends` has: a number when it works on it, bytes when it decodes them.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        group: str,
        *,
        weight: int = 10,
        instance: str | None = None,
        commits: bool = True,
        positions: Positions | None = None,
        ends: Collection[object] = (),
        max_letters: int = 100,
    ) -> None:
        self.seen: list[int] = []
        self.poison: list[tuple[int, int]] = []
        self.newer: list[int] = []
        self.sizes: list[int] = []
        self.held: Batch[int] | None = None
        self.error: BaseException | None = None
        self.commits = commits
        self.ended = threading.Event()
        self._ends = frozenset(ends)
        self._killed = False
        self._stopping = threading.Event()
        self._go_on = threading.Event()
        self.source: BatchSource[int] = BatchSource(
            cluster,
            topic,
            group,
            decode=self._decode,
            poison=self._note_poison,
            newer=lambda raw, _: self.newer.append(raw.offset),
            weigh=lambda _: 1,
            limit=Limit(weight, 0.1),
            positions=positions or from_committed(group, "make them again"),
            stopping=self._stopping,
            metrics=Metrics("test"),
            max_letters_in_a_row=max_letters,
            group_instance_id=instance,
            session_timeout_s=6,
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self.source:
                self._read()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error
        finally:
            self.ended.set()

    def _read(self) -> None:
        for batch in self.source.batches():
            with self.source.work(batch):
                self.seen += batch.values
                self.sizes.append(len(batch.records))
                if self._ends.intersection(batch.values):
                    raise Killed
                if batch.records and not self.commits:
                    self.held = batch
                    self._go_on.wait(60)
                    if self._killed:
                        raise Killed
            self.source.commit(batch.next_offsets)

    def _decode(self, raw: ConsumerRecord) -> int | None:
        if raw.value in self._ends:
            raise Killed
        if raw.value == b"newer":
            raise SchemaTooNew("schema 2")
        return None if raw.value == b"poison" else int(raw.value)

    def _note_poison(self, raw: ConsumerRecord, deaths: int) -> None:
        self.poison.append((int(raw.value), deaths))

    def go_on(self) -> None:
        """Commits the batch that is held, and goes on."""
        self.commits = True
        self._go_on.set()

    def kill(self) -> None:
        """Ends without committing what is in hand, and without a word."""
        self._killed = True
        self._stopping.set()
        self._go_on.set()
        self._thread.join(30)

    def close(self) -> None:
        self._stopping.set()
        self._go_on.set()
        self._thread.join(30)


@pytest.fixture
def send(cluster: Cluster, topic: str) -> Iterator[Callable[..., None]]:
    with Publisher(cluster) as publisher:

        def send(*numbers: object) -> None:
            messages = [Message(topic, b"k", str(n).encode(), partition=i % PARTITIONS) for i, n in enumerate(numbers)]
            publisher.publish(messages).wait(30)

        yield send


Send = Callable[..., None]
Join = Callable[..., Reader]
Done = Callable[[], int]


@pytest.fixture
def reader(cluster: Cluster, topic: str, namespace: str) -> Iterator[Join]:
    made: list[Reader] = []

    def make(**options: object) -> Reader:
        made.append(Reader(cluster, topic, f"{namespace}.{GROUP}", **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def committed(cluster: Cluster, topic: str, namespace: str) -> Done:
    """How many records the group has committed, over all partitions."""
    return lambda: sum(cluster.committed(f"{namespace}.{GROUP}", topic).values())


def test_a_new_group_starts_at_the_logs_start_and_reads_everything_once(
    send: Send, reader: Join, committed: Done
) -> None:
    send(*range(200))
    one = reader()
    wait_until(lambda: committed() == 200, "everything is committed")
    assert sorted(one.seen) == list(range(200))


def test_a_batch_is_bounded_by_weight(send: Send, reader: Join, committed: Done) -> None:
    send(*range(100))
    one = reader(weight=7)
    wait_until(lambda: committed() == 100, "everything is committed")
    assert max(one.sizes) == 7


def test_poison_is_left_out_and_committed_with_its_neighbours(send: Send, reader: Join, committed: Done) -> None:
    send(0, "poison", 2, 3)
    one = reader()
    wait_until(lambda: committed() == 4, "everything is committed")
    assert sorted(one.seen) == [0, 2, 3]


def test_what_was_not_committed_comes_again(send: Send, reader: Join, committed: Done) -> None:
    send(*range(40))
    one = reader(weight=25, commits=False)
    wait_until(lambda: one.held, "the first has a batch")
    one.kill()
    two = reader()
    wait_until(lambda: committed() == 40, "the second has committed everything")
    assert sorted(two.seen) == list(range(40))


def test_a_second_member_takes_its_share_and_nothing_is_left_out(send: Send, reader: Join, committed: Done) -> None:
    send(*range(100))
    one = reader(weight=5)
    wait_until(lambda: committed() >= 20, "the first has begun")
    two = reader(weight=5)
    wait_until(lambda: len(one.source.assigned) == len(two.source.assigned) == PARTITIONS // 2, "they share")
    send(*range(100, 200))
    wait_until(lambda: committed() == 200, "everything is committed")
    assert set(one.seen) | set(two.seen) == set(range(200))
    assert two.seen


def test_partitions_kept_across_a_rebalance_skip_nothing(send: Send, reader: Join, committed: Done) -> None:
    """A member's positions outlive a rebalance: what it dropped uncommitted would never come again."""
    send(*range(400))
    one = reader(weight=3, commits=False)
    wait_until(lambda: one.held, "the first has a batch in hand, and more in its buffer")
    two = reader(weight=3)
    one.go_on()
    wait_until(lambda: committed() == 400, "everything is committed")
    assert set(one.seen) | set(two.seen) == set(range(400))


def test_a_killed_members_work_is_done_by_the_others(send: Send, reader: Join, committed: Done) -> None:
    send(*range(100))
    one, two = reader(weight=3, commits=False), reader(weight=3)
    wait_until(lambda: one.held, "the one to be killed has a batch")
    one.kill()
    wait_until(lambda: committed() == 100, "the other has committed everything")
    assert set(two.seen) | set(one.held.values if one.held else []) == set(range(100))


def test_a_commit_never_goes_back(send: Send, reader: Join, committed: Done) -> None:
    send(*range(40))
    one = reader(weight=40)
    wait_until(lambda: committed() == 40, "everything is committed")
    one.source.commit(dict.fromkeys(range(PARTITIONS), 1))
    assert committed() == 40


def test_a_position_that_goes_back_is_committed_at_once(send: Send, reader: Join, committed: Done) -> None:
    """A rebuilt table reads everything again; a commit that stayed ahead would say that there is no lag."""
    send(*range(40))
    one = reader()
    wait_until(lambda: committed() == 40, "everything is committed")
    one.close()
    two = reader(positions=lambda _, starts: starts, commits=False)
    wait_until(lambda: two.held, "the second reads from the start")
    assert committed() == 0
    two.go_on()
    wait_until(lambda: committed() == 40, "everything is committed again")
    assert sorted(two.seen) == list(range(40))


def test_a_gap_between_the_commit_and_the_log_is_fatal(
    cluster: Cluster, topic: str, namespace: str, send: Send, reader: Join
) -> None:
    """`earliest` would jump over it without a word."""
    send(*range(40))
    consumer = cluster.consumer(f"{namespace}.{GROUP}")
    consumer.assign([TopicPartition(topic, 0)])
    consumer.commit({TopicPartition(topic, 0): OffsetAndMetadata(2, "", -1)}, timeout_ms=5000)
    consumer.close()
    cluster.trim(topic, {0: 5})
    one = reader()
    wait_until(lambda: one.error, "the reader stops")
    assert isinstance(one.error, Fatal)
    assert "records 2 to 4 are gone and were not processed; make them again" in str(one.error)


def test_a_second_process_with_the_same_instance_id_replaces_the_first(send: Send, reader: Join) -> None:
    send(*range(40))
    one = reader(instance="sink", commits=False)
    wait_until(lambda: one.held, "the first has work")
    two = reader(instance="sink")
    wait_until(lambda: two.seen, "the second has work")
    one.go_on()
    wait_until(lambda: one.error, "the first is stopped at its commit")
    assert isinstance(one.error, Replaced)


@pytest.fixture
def mark(cluster: Cluster, topic: str, namespace: str) -> Callable[[int], Mark]:
    """The mark that stands beside the group's commit in a partition."""

    def read(partition: int) -> Mark:
        consumer = cluster.consumer(f"{namespace}.{GROUP}")
        try:
            at = consumer.committed(TopicPartition(topic, partition), metadata=True, timeout_ms=10_000)
            return read_mark(at.metadata if at else None)
        finally:
            consumer.close()

    return read


Restart = Callable[..., list[Reader]]


@pytest.fixture
def until_done(reader: Join, committed: Done) -> Restart:
    """Starts one reader after the other, as each dies, until so many records are committed; all of them."""

    def run(total: int, most: int = 12, **options: object) -> list[Reader]:
        readers = []
        for _ in range(most):
            one = reader(**options)
            readers.append(one)
            wait_until(lambda one=one: one.ended.is_set() or committed() == total, "it dies, or all is done")  # type: ignore[misc]
            if committed() == total:
                return readers
        raise AssertionError(f"{most} have died, {committed()} of {total} are committed: {readers[-1].error!r}")

    return run


@in_memory_and_in_faults
def test_a_record_that_ends_its_process_is_poison_at_the_fifth_death_and_nothing_else_is_lost(
    send: Send, until_done: Restart
) -> None:
    send(*range(200))
    readers = until_done(200, ends={117})
    assert [one.poison for one in readers if one.poison] == [[(117, 3)]]
    assert len(readers) == 6
    assert set().union(*(one.seen for one in readers)) == set(range(200))
    assert max(readers[-1].sizes) <= 2, "the last one takes most of them alone or with care"


@in_memory_and_in_faults
def test_a_record_that_ends_its_process_when_it_is_decoded_is_poison_too(send: Send, until_done: Restart) -> None:
    send(*range(60))
    readers = until_done(60, ends={b"17"})
    assert [one.poison for one in readers if one.poison] == [[(17, 3)]]


@in_memory_and_in_faults
def test_several_are_found_one_after_the_other(send: Send, until_done: Restart) -> None:
    send(*range(200))
    readers = until_done(200, most=16, ends={17, 18, 120})
    assert sorted(number for one in readers for number, _ in one.poison) == [17, 18, 120]


@in_memory_and_in_faults
def test_a_killer_moves_between_replicas_and_its_deaths_are_counted_over_all_of_them(
    send: Send, reader: Join, committed: Done
) -> None:
    send(*range(200))
    readers = [reader(ends={117}), reader(ends={117})]
    deaths = 0

    def dead() -> list[Reader]:
        return [one for one in readers if one.ended.is_set()]

    while committed() < 200:
        wait_until(lambda: dead() or committed() == 200, "a death, or the end")
        for one in dead():
            deaths += 1
            readers.remove(one)
            readers.append(reader(ends={117}))
        assert deaths <= 6
    assert deaths == 5


def test_an_orderly_stop_takes_the_mark_back_and_is_no_death(
    mark: Callable[[int], Mark], send: Send, reader: Join
) -> None:
    send(*range(100))
    for _ in range(4):
        one = reader(commits=False)
        wait_until(lambda one=one: one.held, "it has a batch in hand")  # type: ignore[misc]
        assert mark(0).owner
        one._stopping.set()
        one.go_on()
        assert one.ended.wait(30)
        assert mark(0) == Mark()
        send(*range(100))
    assert one.error is None


def test_a_rebalance_is_no_death(mark: Callable[[int], Mark], send: Send, reader: Join, committed: Done) -> None:
    send(*range(100))
    one = reader(weight=3, commits=False)
    wait_until(lambda: one.held, "the first has a batch in hand")
    two = reader(weight=3)
    one.go_on()
    wait_until(lambda: committed() == 100, "everything is committed")
    wait_until(lambda: len(one.source.assigned) == len(two.source.assigned), "they share")
    send(*range(100, 200))
    wait_until(lambda: committed() == 200, "what came later is committed")
    marks = [mark(partition) for partition in range(PARTITIONS)]
    assert not any(found.careful for found in marks)
    assert max(two.sizes) == 3, "it takes whole batches"


def test_a_death_makes_the_next_owner_careful_until_it_has_passed_what_was_in_hand(
    send: Send, reader: Join, committed: Done
) -> None:
    send(*range(400))
    one = reader(weight=40, commits=False)
    wait_until(lambda: one.held, "the first has a batch in hand")
    one.kill()
    two = reader(weight=40)
    wait_until(lambda: committed() == 400, "everything is committed")
    assert max(two.sizes) == 40 // 8
    send(*range(400, 800))
    wait_until(lambda: committed() == 800, "what came later is committed")
    assert max(two.sizes) == 40
    assert not two.poison


@pytest.fixture
def commit(cluster: Cluster, topic: str, namespace: str) -> Callable[..., None]:
    """Commits an offset in each partition, with what metadata is given, as another program would."""

    def commit(offset: int, metadata: Mapping[int, str]) -> None:
        consumer = cluster.consumer(f"{namespace}.{GROUP}")
        offsets = {TopicPartition(topic, p): OffsetAndMetadata(offset, text, -1) for p, text in metadata.items()}
        consumer.assign(list(offsets))
        consumer.commit(offsets, timeout_ms=5000)
        consumer.close()

    return commit


def test_metadata_that_is_none_of_ours_is_no_mark(
    send: Send, reader: Join, committed: Done, commit: Callable[..., None]
) -> None:
    send(*range(100))
    commit(2, {0: "garbage" * 50, 1: ""})
    one = reader()
    wait_until(lambda: committed() == 100, "everything is committed")
    assert max(one.sizes) == 10
    assert len(one.seen) == 96


@in_memory_and_in_faults
def test_too_many_killers_in_a_row_are_not_their_own_fault(send: Send, reader: Join) -> None:
    send(*range(40))
    for _ in range(20):
        one = reader(ends=range(40), max_letters=10)
        assert one.ended.wait(60)
        if isinstance(one.error, Fatal):
            break
    assert isinstance(one.error, Fatal), one.error
    assert "2 records in a row ended the process" in str(one.error)


def test_a_record_of_a_newer_schema_is_passed_when_no_upgrade_has_come(
    cluster: Cluster, namespace: str, send: Send, reader: Join, committed: Done
) -> None:
    group = f"{namespace}.{GROUP}"
    send(0, 1, "newer", 3, "newer", 5)
    first = reader()
    wait_until(first.ended.is_set, "the first has met it")
    assert isinstance(first.error, SchemaTooNew)
    wait_until(lambda: "newer_since" in str(beside(cluster, group)), "the group knows since when")
    second = reader()
    wait_until(second.ended.is_set, "the second has met it")
    assert (first.newer, second.newer) == ([], [])
    assert not any(mark.deaths or mark.careful for mark in beside(cluster, group).values()), "nobody has died of it"
    long_ago = {
        tp: OffsetAndMetadata(at.offset, metadata_of(Mark(newer_since=int(time.time()) - GRACE_SECONDS)), -1)
        for tp, at in cluster.admin.list_group_offsets([group])[group].items()
    }
    second.close()
    cluster.call(lambda: cluster.admin.alter_group_offsets(group, long_ago))
    third = reader()
    wait_until(lambda: committed() == 6, "all of it is passed")
    assert len(third.newer) == 2
    assert set(first.seen + second.seen + third.seen) == {0, 1, 3, 5}


def beside(cluster: Cluster, group: str) -> dict[int, Mark]:
    """What the group keeps beside its positions."""
    found = cluster.admin.list_group_offsets([group])[group]
    return {tp.partition: read_mark(at.metadata) for tp, at in found.items()}
