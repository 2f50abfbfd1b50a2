"""`producers.cirrus` against a real Kafka: every page once, whatever is killed, and damaged files said clearly."""

from __future__ import annotations

import gzip
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.kafka import Cluster, read_to_end
from pipeline.records import Page, decode
from pipeline.settings import MIB, Settings
from pipeline.topics import ensure_corpus
from producers.run import progress as progress_records
from producers.run.progress import Progress
from tests.conftest import SettingsEnv
from tests.dumps import document, joined, pair, pairs, write_legacy, write_shard
from tests.waiting import wait_until

RUN_SECONDS = 120


class Producer:
    """Runs the command as an operator would, and looks at what is in its topics."""

    def __init__(self, env: dict[str, str]) -> None:
        self.environment = env
        self.settings = Settings()
        self.cluster = Cluster.connect(self.settings)
        self.topics = ensure_corpus(self.cluster, self.settings)

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """The command, started in the project's folder; with `--json`."""
        return subprocess.Popen(
            [sys.executable, "-m", "producers.cirrus", "--json", *map(str, arguments)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: object, code: int = 0) -> tuple[dict[str, Any], str]:
        """The JSON document and the errors of a run that must end with `code`."""
        process = self.start(*arguments)
        out, errors = process.communicate(timeout=RUN_SECONDS)
        assert process.returncode == code, errors
        assert "Traceback" not in errors
        return (json.loads(out) if out else {}), errors

    def pages(self) -> list[Page]:
        """All pages in the topic, in the order of their partitions, duplicates included."""
        return [decode(value, Page) for _, value in self._records(self.topics.pages) if value is not None]

    def progress(self) -> dict[str, Progress]:
        found: dict[str, Progress] = {}
        for key, value in self._records(self.topics.progress):
            if not key.startswith(b"cirrus/"):
                continue
            record = progress_records.decode(value or b"")
            assert record is not None
            found[record.shard] = record
        return found

    def dead_letters(self) -> list[dict[str, str]]:
        records = read_to_end(self.cluster, self.topics.dead_letters, deadline_s=30)
        return [{str(name): bytes(value).decode() for name, value in record.headers} for record in records]

    def _records(self, topic: str) -> list[tuple[bytes, bytes | None]]:
        records = read_to_end(self.cluster, topic, deadline_s=60)
        return [(bytes(record.key), record.value) for record in records]


@pytest.fixture
def producer(settings_env: SettingsEnv) -> Iterator[Producer]:
    producer = Producer(settings_env(progress_pages=20, progress_seconds=0.1))
    yield producer
    producer.cluster.close()


def ids(pages: list[Page]) -> list[int]:
    return sorted(int(page.page_id) for page in pages)


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = psutil.Process(process.pid).children()
    except psutil.NoSuchProcess:
        return []
    return found


def large_shard(folder: Path, first: int, count: int, number: int) -> Path:
    """A plain file that takes a process some seconds."""
    path = folder / f"enwiki_content-20261115-{number:05}.json"
    text = "What happened there is told at some length. " * 60
    with path.open("wb") as file:
        for page_id in range(first, first + count):
            file.write(joined(pair(page_id, text=f"{page_id}: {text}")))
    return path


def reached(producer: Producer, pages: int) -> Callable[[], bool]:
    """Whether the progress topic says that so many pages are acknowledged, and not yet all shards are finished."""

    def check() -> bool:
        found = producer.progress()
        return sum(record.ledger.produced for record in found.values()) >= pages

    return check


def test_both_layouts_become_pages_and_a_balanced_ledger(producer: Producer, tmp_path: Path) -> None:
    for number in range(3):
        first = 100 * number
        mixed = [*pairs(range(first, first + 20)), *pair(first + 50, page_type="redirect", text="")]
        write_shard(tmp_path / "dump", mixed, number)
    write_legacy(tmp_path / "dump", pairs(range(900, 910), "legacy"))
    said, _ = producer.run(tmp_path / "dump", "--allow-older")
    assert said["balanced"]
    assert said["total"]["produced"] == 70
    assert said["total"]["dropped"] == {"redirect": 3}
    found = producer.pages()
    assert ids(found) == [*range(20), *range(100, 120), *range(200, 220), *range(900, 910)]
    page = next(page for page in found if page.page_id == "7")
    assert (page.text, page.snapshot, page.key) == (document(7)["text"], "20261115", "enwiki:7")


def test_a_second_run_sends_nothing_again_unless_told(producer: Producer, tmp_path: Path) -> None:
    write_shard(tmp_path / "dump", pairs(range(30)))
    producer.run(tmp_path / "dump")
    said, _ = producer.run(tmp_path / "dump")
    assert [shard["state"] for shard in said["shards"]] == ["skipped"]
    assert (said["sent_now"], said["total"]["produced"]) == (0, 30)
    assert len(producer.pages()) == 30
    said, _ = producer.run(tmp_path / "dump", "--again")
    assert (said["sent_now"], said["total"]["produced"]) == (30, 30)
    assert len(producer.pages()) == 60


def test_a_file_put_in_anothers_place_is_read_from_its_start(producer: Producer, tmp_path: Path) -> None:
    write_shard(tmp_path / "dump", pairs(range(30)))
    producer.run(tmp_path / "dump")
    write_shard(tmp_path / "dump", pairs(range(40)))
    said, errors = producer.run(tmp_path / "dump")
    assert "the file is another one than before" in errors
    assert (said["sent_now"], said["total"]["produced"]) == (40, 40)


def test_other_namespaces_are_another_reading_of_the_shard(producer: Producer, tmp_path: Path) -> None:
    write_shard(tmp_path / "dump", [*pairs(range(5)), *pair(9, namespace=4)])
    said, _ = producer.run(tmp_path / "dump")
    assert said["total"]["dropped"] == {"namespace": 1}
    said, errors = producer.run(tmp_path / "dump", "--namespaces", "0,4")
    assert "options have changed" in errors
    assert said["total"]["produced"] == 6


def test_a_limit_counts_over_all_runs_and_takes_the_first_pages(producer: Producer, tmp_path: Path) -> None:
    for number in range(3):
        write_shard(tmp_path / "dump", pairs(range(10 * number, 10 * number + 10)), number)
    for _ in range(2):
        said, _ = producer.run(tmp_path / "dump", "--limit", 14)
        assert said["total"]["produced"] == 14
        assert ids(producer.pages()) == list(range(14))
    producer.run(tmp_path / "dump")
    assert ids(producer.pages()) == list(range(30))


def test_an_older_snapshot_is_refused_unless_told(producer: Producer, tmp_path: Path) -> None:
    write_shard(tmp_path / "new", pairs(range(3)))
    write_legacy(tmp_path / "old", pairs(range(3), "legacy"))
    producer.run(tmp_path / "new")
    _, errors = producer.run(tmp_path / "old", code=2)
    assert "20251229" in errors
    assert "--allow-older" in errors
    producer.run(tmp_path / "old", "--allow-older")
    assert len(producer.pages()) == 6


@pytest.mark.parametrize("layout", ["new", "legacy"])
def test_a_cut_off_shard_gives_what_it_has_and_stops_nobody(producer: Producer, tmp_path: Path, layout: str) -> None:
    numbers = range(2_000)
    # Several blocks of bz2 (900 kB of text each), as only a whole one can be read.
    lines = [line for number in numbers for line in pair(number, layout, text=f"The {number}th story. " * 100)]
    path = (write_shard if layout == "new" else write_legacy)(tmp_path / "dump", lines)
    write_shard(tmp_path / "dump", pairs(range(9_000, 9_010)), 1)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 9 // 10])
    said, errors = producer.run(tmp_path / "dump", "--allow-older", code=1)
    cut = next(shard for shard in said["shards"] if shard["shard"] == path.name)
    other = next(shard for shard in said["shards"] if shard["shard"] != path.name)
    assert (cut["state"], other["state"], other["ledger"]["produced"]) == ("failed", "finished", 10)
    assert said["balanced"]
    line = next(line for line in errors.splitlines() if line.startswith("error:"))
    assert f"{path}: cut off at byte {len(whole) * 9 // 10:,}" in line
    assert "fetch the file again" in line
    sent = cut["ledger"]["produced"]
    assert 0 < sent < 2_000
    assert producer.progress()[path.name].ledger.produced == sent
    # Not for ever: the same file says the same at once; a whole one is read from its start.
    said, _ = producer.run(tmp_path / "dump", "--allow-older", code=1)
    assert said["sent_now"] == 0
    path.write_bytes(whole)
    said, _ = producer.run(tmp_path / "dump", "--allow-older")
    assert said["total"]["produced"] == 2_010
    assert set(ids(producer.pages())) == {*numbers, *range(9_000, 9_010)}


def test_a_corrupt_shard_is_read_from_its_start_when_it_was_mended(producer: Producer, tmp_path: Path) -> None:
    noise = random.Random(1)
    lines = [line for number in range(2_000) for line in pair(number, text=noise.randbytes(400).hex())]
    path = write_shard(tmp_path / "dump", lines)
    whole = path.read_bytes()
    assert len(whole) > 300_000, "the damage must lie between the two ends that the checksum is over"
    path.write_bytes(whole[: len(whole) // 2] + b"\x00\xff" * 40 + whole[len(whole) // 2 + 80 :])
    _, errors = producer.run(tmp_path / "dump", code=1)
    assert f"{path}: corrupt at byte" in errors
    path.write_bytes(whole)
    said, errors = producer.run(tmp_path / "dump")
    assert "found corrupt before" in errors
    assert said["total"]["produced"] == 2_000


def test_bad_lines_are_counted_and_cost_no_neighbour(producer: Producer, tmp_path: Path) -> None:
    lines = [
        *pair(1),
        b"<html>503</html>",
        *pair(2, text=""),
        *pair(3)[1:],
        *pair(4)[:1],
        *pair(5, version="x", category=3),
        *pair(6, title=["T"]),
        *pair(7, text="y" * 5_000),
        *pair(8),
    ]
    write_shard(tmp_path / "dump", lines)
    said, _ = producer.run(tmp_path / "dump", "--max-line-bytes", 4_096)
    assert ids(producer.pages()) == [1, 3, 5, 8]
    assert said["total"]["dropped"] == {"empty": 1, "bad_type": 1}
    assert said["total"]["malformed"] == {"not_json": 1, "lost_document": 1, "line_too_long": 1}
    assert said["total"]["mended"] == {"lost_action": 1, "version": 1, "category": 1}
    assert said["balanced"]


def test_large_pages_take_little_memory_and_too_large_ones_become_dead_letters(
    producer: Producer, tmp_path: Path
) -> None:
    def text(size: int) -> str:
        return "A long story. ☃ " * (size // 18)

    lines = pairs(range(5))
    for number in range(10, 16):
        lines += pair(number, text=text(5_000_000), source_text=text(6_000_000))
    lines += [*pair(30, text=text(9 * MIB)), *pair(31)]
    path = tmp_path / "enwiki_content-20261115-00000.json.gz"
    path.write_bytes(gzip.compress(joined(lines), 1))
    said, _ = producer.run(path)
    assert ids(producer.pages()) == [*range(5), *range(10, 16), 31]
    assert said["total"]["dropped"] == {"too_large": 1}
    (letter,) = producer.dead_letters()
    assert (letter["stage"], letter["reason"], letter["topic"]) == ("produce", "too_large", path.name)
    assert int(letter["offset"]) == lines.index(pair(30, text=text(9 * MIB))[1])
    peak = said["shards"][0]["peak_memory_bytes"]
    assert 0 < peak < 250 * MIB, f"{peak / MIB:.0f} MiB"


@pytest.mark.faults
def test_killed_at_any_moment_it_goes_on_where_kafka_had_acknowledged(producer: Producer, tmp_path: Path) -> None:
    count, kills = 6_000, 3
    for number in range(3):
        large_shard(tmp_path, number * count // 3, count // 3, number)
    sent = hit = 0
    for kill in range(kills):
        process = producer.start(f"{tmp_path}/*.json")
        moved = reached(producer, sent + 500)
        wait_until(
            lambda moved=moved, process=process: moved() or process.poll() is not None, "progress of this run", 60
        )
        if process.poll() is not None:
            break  # a fast machine has read the rest meanwhile
        alive = children(process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        psutil.wait_procs(alive, timeout=30)
        assert not [child for child in alive if child.is_running() and child.status() != "zombie"], f"kill {kill}"
        sent = sum(record.ledger.produced for record in producer.progress().values())
        hit += 1
    assert hit, "not even the first kill hit"
    sent = sum(record.ledger.produced for record in producer.progress().values())  # a run that was not hit sent more
    said, _ = producer.run(f"{tmp_path}/*.json")
    assert said["balanced"]
    assert said["total"]["produced"] == count
    assert all(record.finished for record in producer.progress().values())
    times = Counter(ids(producer.pages()))
    assert set(times) == set(range(count))
    # What was in flight, a few hundred pages a process and kill, and never what progress had been written for.
    again = sum(times.values()) - count
    assert again < kills * 3 * 3_000
    assert said["sent_now"] == count - sent


@pytest.mark.faults
def test_a_killed_child_is_one_clear_line_and_the_next_run_goes_on(producer: Producer, tmp_path: Path) -> None:
    large_shard(tmp_path, 0, 9_000, 0)
    process = producer.start(f"{tmp_path}/*.json")
    wait_until(reached(producer, 200), "some progress")
    (child,) = children(process)
    child.kill()
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    (line,) = re.findall("error: .*", errors)
    path = tmp_path / "enwiki_content-20261115-00000.json"
    assert line == f"error: {path}: its process was killed by SIGKILL; run this again to go on"
    assert json.loads(out)["shards"][0]["state"] == "failed"
    said, _ = producer.run(f"{tmp_path}/*.json")
    assert said["total"]["produced"] == 9_000
    assert set(ids(producer.pages())) == set(range(9_000))


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal_it_writes_down_what_is_acknowledged(
    producer: Producer, tmp_path: Path, number: signal.Signals
) -> None:
    large_shard(tmp_path, 0, 9_000, 0)
    process = producer.start(f"{tmp_path}/*.json")
    wait_until(reached(producer, 200), "some progress")
    asked = time.monotonic()
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert time.monotonic() - asked < 10
    (shard,) = json.loads(out)["shards"]
    assert shard["state"] == "stopped"
    assert producer.progress()[shard["shard"]].ledger.produced == shard["ledger"]["produced"] == len(producer.pages())
    said, _ = producer.run(f"{tmp_path}/*.json")
    assert ids(producer.pages()) == list(range(9_000)), "nothing is sent twice after a clean stop"
    assert said["balanced"]


def test_without_an_answering_kafka_it_ends_with_75_and_one_line(producer: Producer, tmp_path: Path) -> None:
    write_shard(tmp_path / "dump", pair(1))
    producer.environment["KAFKA_BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    _, errors = producer.run(tmp_path / "dump", code=75)
    assert len(re.findall("error: .*", errors)) == 1


def test_a_source_that_means_nothing_is_wrong_use(producer: Producer, tmp_path: Path) -> None:
    _, errors = producer.run(tmp_path / "nowhere", code=2)
    assert errors.startswith(f"error: {tmp_path}/nowhere: ")
