"""SIGTERM while Kafka is away: every process ends within seconds, with work in hand, and nothing is lost by it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.local.kafka import LocalKafka
from pipeline.service import STOP_SECONDS
from tests.faults.conftest import NewWorld
from tests.faults.world import Replica, write_corpus

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

MARGIN_S = 10.0
"""For a busy machine; the watchdog's 120 s are far away."""
FIRST, ENDLESS = 2_000, 60_000
"""Pages: an embedder on one core needs minutes for the first, a producer a minute for the rest."""


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[LocalKafka]:
    """A broker for this test alone, which may be stopped."""
    with LocalKafka(tmp_path / "own", port=0) as broker:
        yield broker


@pytest.fixture
def kafka(own_kafka: LocalKafka) -> str:
    return own_kafka.bootstrap


def test_every_process_ends_in_time_though_kafka_answers_nobody(
    own_kafka: LocalKafka, new_world: NewWorld, tmp_path: Path
) -> None:
    world = new_world()
    world.add_producer(write_corpus(tmp_path / "first", range(1, FIRST)), "first")
    world.add_chunker("chunk")
    replicas = [world.add_embedder("embed"), world.add_sink()]
    world.until(lambda: all(replica.works for replica in replicas), "pages reach the table", 240)
    replicas.append(world.add_producer(write_corpus(tmp_path / "endless", range(FIRST, ENDLESS))))
    world.until(lambda: replicas[2].works, "the second producer sends", 60)
    broker = psutil.Process(own_kafka.pid)
    broker.suspend()
    try:
        world.until(lambda: any(map(waits, (replicas[0], replicas[2]))), "something is not acknowledged", 60)
        for replica in replicas:
            replica.send(signal.SIGTERM)
        told = time.monotonic()
        codes = {replica.name: replica.child.wait(STOP_SECONDS + MARGIN_S) for replica in replicas if replica.child}
        took = time.monotonic() - told
    finally:
        broker.resume()
    assert codes == dict.fromkeys(codes, 0)
    assert took < STOP_SECONDS + MARGIN_S
    for replica in replicas:
        assert "bug" not in replica.log.read_text()


def waits(replica: Replica) -> bool:
    """Whether it has sent what nobody acknowledges."""
    lines = replica.ask("/metrics").splitlines()
    return any(float(line.rsplit(" ", 1)[1]) > 0 for line in lines if line.startswith("cirrostream_bytes_in_flight{"))
