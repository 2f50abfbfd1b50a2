"""The publisher: bounded, honest, and alive again after what kills a producer."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from deploy.local.kafka import LocalKafka
from pipeline.errors import Fatal
from pipeline.kafka import Cluster, read_to_end
from pipeline.metrics import Metrics
from pipeline.publisher import Message, Publisher, RecordTooLarge
from pipeline.settings import MIB, Settings
from tests.conftest import SettingsEnv
from tests.waiting import wait_until


@pytest.fixture
def topic(cluster: Cluster, namespace: str) -> str:
    name = f"{namespace}.small"
    configs = {"max.message.bytes": str(MIB)}
    cluster.admin.create_topics(
        {name: {"num_partitions": 2, "replication_factor": 1, "configs": configs}}, wait_for_metadata=True
    )
    return name


def values(cluster: Cluster, topic: str) -> list[bytes]:
    return [record.value for record in read_to_end(cluster, topic, deadline_s=30)]


def test_delivered_means_that_the_records_can_be_read(cluster: Cluster, topic: str) -> None:
    with Publisher(cluster) as publisher:
        placed = publisher.publish([Message(topic, b"k", b"%d" % n, partition=n % 2) for n in range(1000)]).wait()
    assert [metadata.partition for metadata in placed[:4]] == [0, 1, 0, 1]
    assert sorted(map(int, values(cluster, topic))) == list(range(1000))


def test_who_waits_does_not_linger(cluster: Cluster, topic: str) -> None:
    with Publisher(cluster, linger_ms=60_000) as publisher:
        publisher.publish([Message(topic, b"k", b"first", partition=0)]).wait(timeout_s=30)
    assert values(cluster, topic) == [b"first"]


def test_no_room_is_no_reason_to_linger(cluster: Cluster, topic: str) -> None:
    with Publisher(cluster, linger_ms=60_000, max_bytes_in_flight=10_000) as publisher:
        deliveries = [publisher.publish([Message(topic, b"k", bytes(1_000), partition=0)]) for _ in range(50)]
        assert deliveries[0].done
        deliveries[-1].wait(timeout_s=30)
    assert len(values(cluster, topic)) == 50


def test_too_large_a_record_is_refused_before_anything_of_its_call_is_sent(cluster: Cluster, topic: str) -> None:
    with Publisher(cluster) as publisher:
        with pytest.raises(RecordTooLarge):
            publisher.publish([Message(topic, b"k", b"small"), Message(topic, b"k", bytes(2 * MIB))])
        publisher.publish([Message(topic, b"k", b"next")]).wait()
    assert values(cluster, topic) == [b"next"]


def test_above_32_mib_a_record_is_too_large_whatever_its_topic_takes(cluster: Cluster, namespace: str) -> None:
    name = f"{namespace}.generous"
    configs = {"max.message.bytes": str(64 * MIB)}
    wanted = {name: {"num_partitions": 1, "replication_factor": 1, "configs": configs}}
    cluster.admin.create_topics(wanted, wait_for_metadata=True)
    with Publisher(cluster) as publisher:
        with pytest.raises(RecordTooLarge, match=f"takes {32 * MIB}"):
            publisher.publish([Message(name, b"k", bytes(40 * MIB))])
        publisher.publish([Message(name, b"k", b"small")]).wait(timeout_s=30)
    assert values(cluster, name) == [b"small"]


def test_a_refusal_that_no_other_producer_would_escape_is_told_at_once(cluster: Cluster, namespace: str) -> None:
    name = f"{namespace}.hasty"
    configs = {"message.timestamp.before.max.ms": "0"}
    wanted = {name: {"num_partitions": 1, "replication_factor": 1, "configs": configs}}
    cluster.admin.create_topics(wanted, wait_for_metadata=True)
    with Publisher(cluster) as publisher, pytest.raises(Fatal, match=r"InvalidTimestampError.*clock"):
        publisher.publish([Message(name, b"k", b"v")]).wait(timeout_s=60)


def test_after_the_broker_refused_a_record_the_others_still_arrive(cluster: Cluster, topic: str) -> None:
    """A broker-side refusal ends an idempotent producer for good; the publisher must replace it."""
    metrics = Metrics("test")
    with Publisher(cluster, metrics) as publisher:
        cluster._limits[topic] = 4 * MIB  # what the publisher believes; the broker knows better
        large = publisher.publish([Message(topic, b"large", noise(2 * MIB), partition=0)])
        others = publisher.publish([Message(topic, b"k", b"%d" % n, partition=n % 2) for n in range(50)])
        with pytest.raises(RecordTooLarge):
            large.wait(60)
        assert len(others.wait(60)) == 50
        publisher.publish([Message(topic, b"k", b"50")]).wait(60)
        assert publisher.bytes_in_flight == 0
    assert sorted(set(map(int, values(cluster, topic)))) == list(range(51))
    rebuilds = metrics.registry.get_sample_value("cirrostream_producer_rebuilds_total", {"stage": "test"})
    assert rebuilds is not None
    assert rebuilds >= 1


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[LocalKafka]:
    """A broker for this test alone, which may be stopped."""
    with LocalKafka(tmp_path / "own", port=0) as broker:
        yield broker


def noise(size: int) -> bytes:
    """Bytes that zstd cannot make smaller."""
    return random.Random(1).randbytes(size)


def test_a_paused_broker_holds_the_publisher_at_its_bound(
    settings_env: SettingsEnv, own_kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kafka-python alone would take everything into memory."""
    settings_env()
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", own_kafka.bootstrap)
    cluster = Cluster.connect(Settings())
    cluster.admin.create_topics({"paused": {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    bound = 4 * MIB
    sent = 0
    with Publisher(cluster, max_bytes_in_flight=bound) as publisher:
        publisher.publish([Message("paused", b"k", b"warm")]).wait()
        broker = psutil.Process(own_kafka.pid)
        broker.suspend()

        def flood() -> None:
            nonlocal sent
            for _ in range(2000):
                publisher.publish([Message("paused", b"k", noise(8192))])
                sent += 1

        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        wait_until(lambda: publisher.bytes_in_flight > bound - 16_384, "the publisher reaches its bound")
        before = sent
        assert not wait_quietly(lambda: publisher.bytes_in_flight > bound or sent > before + 2)
        broker.resume()
        thread.join(timeout=60)
        assert not thread.is_alive()
        wait_until(lambda: publisher.bytes_in_flight == 0, "everything is acknowledged")
    assert sent == 2000
    assert len(values(cluster, "paused")) == 2001
    cluster.close()


def wait_quietly(bad: Callable[[], object]) -> bool:
    """Whether something bad happens within a second."""
    try:
        wait_until(bad, "it happens", timeout_s=1.0)
    except AssertionError:
        return False
    return True
