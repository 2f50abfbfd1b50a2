"""Batches of a consumer group: nothing skipped, nothing committed that is not ours, nothing committed backwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.structs import OffsetAndMetadata

from pipeline.batches import Batch, BatchSource, Limit, Positions, from_committed
from pipeline.errors import Fatal, Replaced
from pipeline.kafka import Cluster
from pipeline.metrics import Metrics
from pipeline.publisher import Message, Publisher
from tests.waiting import wait_until

PARTITIONS = 4
GROUP = "group"


@pytest.fixture
def topic(cluster: Cluster, namespace: str) -> str:
    name = f"{namespace}.numbers"
    cluster.admin.create_topics({name: {"num_partitions": PARTITIONS, "replication_factor": 1}}, wait_for_metadata=True)
    return name


class Reader:
    """A member of the group in a thread of its own, as members are: the group waits for each of them.

    It commits what it reads until `commits` is cleared; then it stops at its next batch, `held`.
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
    ) -> None:
        self.seen: list[int] = []
        self.sizes: list[int] = []
        self.held: Batch[int] | None = None
        self.error: BaseException | None = None
        self.commits = commits
        self._stopping = threading.Event()
        self._go_on = threading.Event()
        self.source: BatchSource[int] = BatchSource(
            cluster,
            topic,
            group,
            decode=_number,
            weigh=lambda _: 1,
            limit=Limit(weight, 0.1),
            positions=positions or from_committed(group, "make them again"),
            stopping=self._stopping,
            metrics=Metrics("test"),
            group_instance_id=instance,
            session_timeout_s=6,
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for batch in self.source.batches():
                self.seen += batch.values
                self.sizes.append(len(batch.records))
                if batch.records and not self.commits:
                    self.held = batch
                    self._go_on.wait(60)
                self.source.commit(batch.next_offsets)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def go_on(self) -> None:
        """Commits the batch that is held, and goes on."""
        self.commits = True
        self._go_on.set()

    def kill(self) -> None:
        """Ends without committing what is in hand."""
        self._stopping.set()
        self.source.commit = lambda _: None  # type: ignore[method-assign,assignment]
        self._go_on.set()
        self._thread.join(30)
        self.source.close()

    def close(self) -> None:
        self._stopping.set()
        self._go_on.set()
        self._thread.join(30)
        self.source.close()


def _number(raw: ConsumerRecord) -> int | None:
    return None if raw.value == b"poison" else int(raw.value)


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
