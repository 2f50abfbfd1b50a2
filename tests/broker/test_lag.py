"""Lag agrees with Kafka's own numbers, to the message; and where Kafka has none, with what there is to read."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource
from kafka.protocol.metadata import CoordinatorType
from kafka.structs import OffsetAndMetadata

from pipeline.kafka import Cluster, read_range
from pipeline.lag.backlog import ClusterProbe, Step
from pipeline.lag.observer import Observer
from pipeline.lag.view import GroupLag
from pipeline.offsets import committed_offsets, group_members, topic_logs
from tests.conftest import SettingsEnv
from tests.consumer_groups import describe, set_positions
from tests.waiting import wait_until

PARTITIONS = range(4)
HOUR_MS = 3_600_000


class Corpus:
    """A topic with records in it, and the groups that read it."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.topic = f"{name}.pages"
        self.observer = Observer(cluster)
        self._producer: KafkaProducer = cluster.connected(KafkaProducer, acks="all", enable_idempotence=True)

    def create(self, **configs: str) -> None:
        configs = {name.replace("_", "."): value for name, value in configs.items()}
        wanted = {"num_partitions": len(PARTITIONS), "replication_factor": 1, "configs": configs}
        self.cluster.admin.create_topics({self.topic: wanted}, wait_for_metadata=True)

    def send(self, records: int, partition: int = 0, *, age_ms: int = 0, keys: int | None = None) -> None:
        now = int(time.time() * 1000)
        for number in range(records):
            key = b"%d" % (number % keys if keys else number)
            self._producer.send(self.topic, b"x", key, partition=partition, timestamp_ms=now - age_ms)
        self._producer.flush()

    def commit(self, group: str, offsets: Mapping[int, int]) -> Step:
        """As a consumer leaves them that has died since."""
        wanted = {TopicPartition(self.topic, p): OffsetAndMetadata(at, "", -1) for p, at in offsets.items()}
        set_positions(self.cluster, group, wanted)
        return self.step(group)

    def step(self, group: str) -> Step:
        return Step("chunk", self.topic, group)

    def look(self, step: Step) -> GroupLag:
        return self.observer.look([step]).groups[0]

    def lags(self, step: Step) -> dict[int, int]:
        return {partition.partition: partition.lag for partition in self.look(step).partitions}

    def kafkas(self, step: Step) -> dict[int, int | None]:
        found = describe(self.cluster.bootstrap, step.group)
        return {partition: row.lag for (_, topic, partition), row in found.items() if topic == step.topic}

    def first_offset(self) -> int:
        """Of what can still be read of partition 0."""
        end = self.cluster.log(self.topic).ends[0]
        start = self.cluster.log(self.topic).starts[0]
        return int(next(read_range(self.cluster, self.topic, {0: (start, end)}, 30)).offset)

    def close(self) -> None:
        self.observer.close()
        self._producer.close()


@pytest.fixture
def corpus(cluster: Cluster, namespace: str) -> Iterator[Corpus]:
    corpus = Corpus(cluster, namespace)
    yield corpus
    corpus.close()


def test_the_lag_of_dead_consumers_is_kafkas_to_the_message(corpus: Corpus) -> None:
    corpus.create()
    for partition in PARTITIONS:
        corpus.send(100 + partition, partition, age_ms=2 * HOUR_MS)
    dead = corpus.commit(f"{corpus.topic}.dead", {0: 0, 1: 37, 2: 102, 3: 50})
    found = corpus.look(dead)
    assert corpus.lags(dead) == corpus.kafkas(dead) == {0: 100, 1: 64, 2: 0, 3: 53}
    assert found.members == 0
    ages = {partition.partition: partition.age_s or 0.0 for partition in found.partitions}
    assert ages[2] == 0.0
    assert 7200 <= ages[0] < 7260
    never = corpus.step(f"{corpus.topic}.never")
    assert describe(corpus.cluster.bootstrap, never.group) == {}
    assert corpus.lags(never) == {0: 100, 1: 101, 2: 102, 3: 103}


def test_what_was_trimmed_is_no_longer_to_do(corpus: Corpus) -> None:
    corpus.create()
    corpus.send(100, age_ms=HOUR_MS)
    corpus.send(50)
    group = corpus.commit(f"{corpus.topic}.slow", {0: 40})
    corpus.look(group)
    corpus.cluster.trim(corpus.topic, {0: 30})
    assert corpus.lags(group)[0] == corpus.kafkas(group)[0] == 110
    corpus.cluster.trim(corpus.topic, {0: 110})
    assert corpus.lags(group)[0] == 40
    assert corpus.kafkas(group)[0] == 110, "Kafka counts what nobody can read any more"
    [oldest, *_] = corpus.look(group).partitions
    assert oldest.committed == 40
    never = corpus.step(f"{corpus.topic}.never")
    assert corpus.lags(never)[0] == 40


def test_lag_is_there_while_a_group_rebalances(corpus: Corpus) -> None:
    """A member that does not poll keeps the group rebalancing; whoever asked the members for lag would get none."""
    corpus.create()
    for partition in PARTITIONS:
        corpus.send(20, partition)
    group = corpus.commit(f"{corpus.topic}.busy", dict.fromkeys(PARTITIONS, 5))
    with member(corpus, group) as first, member(corpus, group) as second:
        first.subscribe([corpus.topic])
        first.partitions_for_topic(corpus.topic)  # a leader that does not know them yet assigns none
        wait_until(lambda: first.poll(timeout_ms=200) or first.assignment(), "the first has joined")
        second.subscribe([corpus.topic])
        ended = threading.Event()
        joining = threading.Thread(target=lambda: [second.poll(timeout_ms=200) for _ in iter(ended.is_set, True)])
        joining.start()
        try:
            wait_until(lambda: state(corpus.cluster, group.group) == "PreparingRebalance", "a rebalance")
            found = corpus.look(group)
            assert corpus.lags(group) == corpus.kafkas(group) == dict.fromkeys(PARTITIONS, 15)
            assert state(corpus.cluster, group.group) == "PreparingRebalance"
            assert found.members == 2
        finally:
            ended.set()
            first.close()  # lets the second in
            joining.join(30)


def member(corpus: Corpus, group: Step) -> KafkaConsumer:
    return corpus.cluster.consumer(group.group, session_timeout_ms=30_000, heartbeat_interval_ms=500)


def state(cluster: Cluster, group: str) -> str:
    return str(cluster.admin.describe_groups([group])[group]["group_state"])


@pytest.fixture
def eager_cleaner(cluster: Cluster) -> Iterator[None]:
    """The broker's cleaner looks for work five times a second, not every 15 s."""
    nodes = [str(broker["broker_id"]) for broker in cluster.admin.describe_cluster()["brokers"]]
    for node in nodes:
        cluster.admin.alter_configs([ConfigResource("broker", node, configs={"log.cleaner.backoff.ms": "200"})])
    yield
    for node in nodes:
        cluster.admin.reset_configs([ConfigResource("broker", node, configs={"log.cleaner.backoff.ms": None})])


@pytest.mark.usefixtures("eager_cleaner")
def test_in_a_compacted_topic_lag_is_an_upper_bound_and_kafkas_and_0_when_no_record_is_left(corpus: Corpus) -> None:
    corpus.create(
        cleanup_policy="compact",
        min_cleanable_dirty_ratio="0.01",
        max_compaction_lag_ms="100",
        segment_ms="500",
        delete_retention_ms="0",
    )
    corpus.send(200, keys=10, age_ms=HOUR_MS)
    group = corpus.commit(f"{corpus.topic}.slow", {0: 30})
    never = corpus.step(f"{corpus.topic}.never")

    def compacted() -> bool:
        corpus.send(1, keys=1)  # a segment is closed when something is sent after its time
        return corpus.first_offset() > 30

    wait_until(compacted, "the log is compacted beyond the position")
    end = corpus.cluster.log(corpus.topic).ends[0]
    assert corpus.lags(group)[0] == corpus.kafkas(group)[0] == end - 30
    assert corpus.lags(never)[0] == end - corpus.cluster.log(corpus.topic).starts[0] == end


def test_a_log_that_ends_in_offsets_without_records_leaves_nothing_to_do(corpus: Corpus) -> None:
    """A committed transaction leaves a marker behind its records, an aborted one records that nobody is given."""
    corpus.create()
    producer = corpus.cluster.connected(KafkaProducer, transactional_id=corpus.topic)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(corpus.topic, b"x", partition=0).get(30)
    producer.commit_transaction()
    group = corpus.commit(f"{corpus.topic}.reader", {0: 1})
    assert corpus.kafkas(group)[0] == 1
    assert corpus.lags(group)[0] == 0
    producer.begin_transaction()
    producer.send(corpus.topic, b"x", partition=0).get(30)
    assert corpus.lags(group)[0] == 2, "an open transaction may still become records"
    producer.abort_transaction()
    producer.close()
    end, log = corpus.cluster.log(corpus.topic).ends[0], ClusterProbe(corpus.cluster)
    wait_until(lambda: not log.has_records(corpus.topic, {0: 1}, {0: end}), "the abort is known")
    with closing(Observer(corpus.cluster)) as fresh:
        assert fresh.look([group]).groups[0].lag == 0
    corpus.send(1)
    assert corpus.lags(group)[0] == corpus.cluster.log(corpus.topic).ends[0] - 1


def test_a_deleted_topic_is_said_to_be_gone_and_a_new_one_of_its_name_begins_anew(corpus: Corpus) -> None:
    corpus.create()
    corpus.send(10)
    group = corpus.commit(f"{corpus.topic}.reader", {0: 4})
    other = corpus.step(f"{corpus.topic}.never")
    assert corpus.lags(group)[0] == 6
    corpus.cluster.admin.delete_topics([corpus.topic])
    wait_until(lambda: corpus.topic not in topic_logs(corpus.cluster, [corpus.topic]), "the topic is gone")
    view = corpus.observer.look([group, other])
    assert view.topics == {corpus.topic: None}
    assert [group.partitions for group in view.groups] == [(), ()]
    corpus.create()
    corpus.send(3)
    wait_until(lambda: corpus.lags(group).get(0) == 3, "the new topic is seen, and counted from its start")


def test_the_exporter_serves_what_kafka_says_and_once_prints_it(
    corpus: Corpus, settings_env: SettingsEnv, namespace: str, tmp_path: Path
) -> None:
    corpus.create()
    corpus.send(10, age_ms=HOUR_MS)
    model = f"{namespace}.chunks.m-12345678"
    corpus.cluster.admin.create_topics([model], wait_for_metadata=True)
    group = corpus.commit(f"{namespace}.chunk.m-12345678", {0: 4})
    environment = settings_env(announce_dir=tmp_path / "run", every=0.5, rate_floor=100)
    command = [sys.executable, "-m", "pipeline.lag", "--all-groups"]
    once = subprocess.run(
        [*command, "--json"], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    [chunk] = [found for found in json.loads(once.stdout)["groups"] if found["group"] == group.group]
    assert chunk["lag_records"] == 6
    assert [partition["lag_records"] for partition in chunk["partitions"]] == [6, 0, 0, 0]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        said = scraper(tmp_path / "run" / f"lag-{process.pid}.json")
        series = f'{{group="{group.group}",partition="0",stage="lag",stage_of="chunk",topic="{corpus.topic}"}}'
        wait_until(lambda: f"cirrostream_lag_records{series} 6.0" in said(), "its lag")
        corpus.commit(group.group, {0: 9})
        wait_until(lambda: f"cirrostream_lag_records{series} 1.0" in said(), "the new lag")
        corpus.cluster.admin.delete_topics([corpus.topic])
        gone = f'cirrostream_topic_exists{{stage="lag",topic="{corpus.topic}"}} 0.0'
        wait_until(lambda: gone in said(), "the topic is gone")
        assert f"cirrostream_lag_records{series}" not in said()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def scraper(announced: Path) -> Callable[[], str]:
    wait_until(announced.exists, "the exporter announces itself")
    address = json.loads(announced.read_text())["address"]

    def scrape() -> str:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    return scrape


def test_a_group_whose_coordinator_is_another_broker_than_it_was_is_asked_there(
    cluster: Cluster, namespace: str
) -> None:
    group = f"{namespace}.moved"
    known = cluster.admin._manager.cluster
    for ask in (lambda: committed_offsets(cluster, [group]), lambda: group_members(cluster, [group])):
        known._coordinators[CoordinatorType.GROUP, group] = 99  # as of a broker that is no more
        assert not ask()[group]
