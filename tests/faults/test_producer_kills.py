"""The producer is killed twenty times over one snapshot: nothing is lost, and hardly anything is sent twice."""

from __future__ import annotations

import bz2
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.kafka import Cluster, read_to_end
from pipeline.settings import Settings
from pipeline.topics import CorpusTopics, ensure_corpus
from producers.snapshots.snapshots import Snapshots
from tests.conftest import SettingsEnv
from tests.dumps import joined, pair
from tests.waiting import wait_until

SHARDS, PAGES, KILLS = 24, 1_500, 20


@pytest.fixture
def cluster_and_topics(settings_env: SettingsEnv) -> Iterator[tuple[Cluster, CorpusTopics]]:
    settings_env()
    settings = Settings()
    cluster = Cluster.connect(settings)
    yield cluster, ensure_corpus(cluster, settings)
    cluster.close()


def write_snapshot(folder: Path) -> None:
    """Shards whose text takes a decompressor its time."""
    words = ["".join(random.Random(n).choices("abcdefghijklmnopqrstuvwxyz", k=n % 9 + 2)) for n in range(2_000)]
    for number in range(SHARDS):
        chosen = random.Random(number)
        lines = []
        for page_id in range(number * PAGES, (number + 1) * PAGES):
            lines += pair(page_id, text=" ".join(chosen.choices(words, k=700)))
        path = folder / f"enwiki_content-20261115-{number:05}.json.bz2"
        path.write_bytes(bz2.compress(joined(lines), 1))


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_killed_twenty_times_it_loses_nothing_and_sends_hardly_anything_twice(
    cluster_and_topics: tuple[Cluster, CorpusTopics], settings_env: SettingsEnv, tmp_path: Path
) -> None:
    cluster, topics = cluster_and_topics
    folder = tmp_path / "dump"
    folder.mkdir()
    write_snapshot(folder)
    command = [sys.executable, "-m", "producers.cirrus", "--json", str(folder)]
    count, hit = SHARDS * PAGES, 0

    def produced() -> int:
        found = Snapshots.read(cluster, topics.progress).progress.values()
        return sum(progress.ledger.produced for progress in found if progress is not None)

    for kill in range(1, KILLS + 1):
        process = subprocess.Popen(command, env=settings_env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        goal = count * kill // (KILLS + 2)
        wait_until(lambda goal=goal, process=process: produced() >= goal or process.poll() is not None, "progress", 120)
        alive = psutil.Process(process.pid).children() if process.poll() is None else []
        hit += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        psutil.wait_procs(alive, timeout=30)
    assert hit == KILLS

    done = subprocess.run(command, env=settings_env(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["balanced"]
    assert said["total"]["produced"] == count
    keys = Counter(bytes(record.key) for record in read_to_end(cluster, topics.pages, deadline_s=120))
    assert set(keys) == {f"enwiki:{page_id}".encode() for page_id in range(count)}
    again = sum(keys.values()) - count
    assert again < count / 100, f"{again} of {count} pages were sent again"
