"""The embedded Kafka: starts, answers, is one per folder, and dies with whoever started it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from deploy.local.broker import HOST
from deploy.local.claim import Claimed, owner_of
from deploy.local.kafka import LocalKafka
from deploy.local.running import answers, claim_path, running_kafka
from pipeline.kafka import bootstrap_file
from tests.waiting import wait_until

OWNER = """
import sys, time
from pathlib import Path
from deploy.local.kafka import LocalKafka
with LocalKafka(Path(sys.argv[1]), port=0) as kafka:
    print(kafka.bootstrap, flush=True)
    time.sleep(600)
"""


def start_owner(data_dir: Path) -> tuple[subprocess.Popen[str], str]:
    """Another process that runs a Kafka on `data_dir`, and the Kafka's address."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(data_dir)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    address = owner.stdout.readline().strip()
    assert address, "the owner ended without an address"
    return owner, address


def send(bootstrap: str, topic: str, value: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    producer.send(topic, value).get(timeout=20)
    producer.close()


def received(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = KafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=15_000
    )
    values = []
    for record in consumer:
        values.append(record.value)
        if len(values) == count:
            break
    consumer.close()
    return values


def test_it_takes_our_largest_records_and_makes_no_topic_by_accident(kafka: str, namespace: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.create_topics(
        {
            f"{namespace}.vectors": {
                "num_partitions": 1,
                "replication_factor": 1,
                "configs": {"max.message.bytes": str(32 * 1024 * 1024)},
            }
        }
    )
    producer = KafkaProducer(bootstrap_servers=kafka, acks="all", max_request_size=33 * 1024 * 1024)
    record = bytes(31 * 1024 * 1024)
    producer.send(f"{namespace}.vectors", record).get(timeout=30)
    producer.close()
    assert received(kafka, f"{namespace}.vectors", 1) == [record]
    consumer = KafkaConsumer(bootstrap_servers=kafka, allow_auto_create_topics=True)
    consumer.partitions_for_topic(f"{namespace}.misspelt")
    consumer.close()
    assert f"{namespace}.misspelt" not in admin.list_topics()
    admin.close()


def test_killed_with_its_owner_it_is_gone_and_what_it_acknowledged_is_not(tmp_path: Path) -> None:
    owner, address = start_owner(tmp_path)
    broker = next(child for child in psutil.Process(owner.pid).children(recursive=True) if "java" in child.name())
    admin = KafkaAdminClient(bootstrap_servers=address)
    admin.create_topics({"kept": {"num_partitions": 1, "replication_factor": 1}})
    admin.close()
    send(address, "kept", b"before")
    owner.send_signal(signal.SIGKILL)
    owner.wait(60)
    wait_until(lambda: not broker.is_running() or broker.status() == psutil.STATUS_ZOMBIE, "the broker is gone")
    assert bootstrap_file(tmp_path).exists(), "nobody was left to remove it: that is the stale file"
    wait_until(lambda: owner_of(claim_path(tmp_path)) is None, "the claim is free")
    assert running_kafka(tmp_path) is None
    with LocalKafka(tmp_path, port=0) as again:
        assert running_kafka(tmp_path) == again.bootstrap
        assert received(again.bootstrap, "kept", 1) == [b"before"]
    assert not bootstrap_file(tmp_path).exists()
    assert running_kafka(tmp_path) is None


def test_a_second_broker_on_the_same_folder_is_refused_and_told_who_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.kafka.LEFTOVER_S", 0.2)
    owner, address = start_owner(tmp_path)
    try:
        assert running_kafka(tmp_path) == address
        with pytest.raises(Claimed, match=rf"process {owner.pid}: stop it"):
            LocalKafka(tmp_path, port=0).start()
        assert answers(address), "the refused one must leave the first alone"
        assert bootstrap_file(tmp_path).read_text().strip() == address
    finally:
        owner.terminate()
        owner.wait(60)


def test_a_taken_port_makes_it_choose_another_and_its_folder_may_be_named_with_dots(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "beside").mkdir()
        with LocalKafka(tmp_path / "beside" / ".." / "data", port=port) as broker:
            assert broker.bootstrap != f"{HOST}:{port}"
            assert answers(broker.bootstrap)


ODD = "emoji 😀 ë, two  blanks\t\nnew line '\"\\ #!=: ${HOME} %20 .. ".encode() + b"\xff\xfe"


def test_a_folder_of_any_name_holds_its_data_whatever_the_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    folder = tmp_path / os.fsdecode(ODD)
    for start in (b"first", b"second"):
        with LocalKafka(folder, port=0) as broker:
            assert running_kafka(folder) == broker.bootstrap
            if start == b"first":
                admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
                admin.create_topics({"kept": {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
                admin.close()
            send(broker.bootstrap, "kept", start)
            assert received(broker.bootstrap, "kept", 1 + (start == b"second"))[-1] == start
    assert (folder / "kafka" / "log" / "kept-0").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder.name]
