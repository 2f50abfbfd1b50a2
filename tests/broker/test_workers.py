"""Workers alone, with real processes on a real Kafka that somebody else feeds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest

from deploy.local.claim import owner_of
from deploy.local.tidy import run_claim_path
from pipeline import model_files, topics
from pipeline.announcements import announced
from pipeline.dead_letters import read
from pipeline.kafka import Cluster, read_to_end
from pipeline.publisher import Message, Publisher
from pipeline.records import Page, encode
from pipeline.settings import ModelSettings
from tests.conftest import SettingsEnv
from tests.faults.killers import Trap, armed
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

TITLES = ("Lighthouse", "Harbour", "Tide table", "Breakwater")


def start(folder: Path, environment: dict[str, str], *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "deploy.local", "workers", *options]
    return subprocess.Popen(command, cwd=Path.cwd(), env=environment, stderr=subprocess.PIPE, text=True)


def said_by(workers: subprocess.Popen[str]) -> str:
    try:
        return workers.communicate(timeout=240)[1]
    finally:
        workers.terminate()


def send_pages(cluster: Cluster, titles: Iterable[str]) -> topics.ModelTopics:
    """The pages in `pages`, as a producer elsewhere would send them."""
    settings = ModelSettings()
    corpus = topics.ensure_corpus(cluster, settings)
    model = topics.ensure_model(cluster, settings, model_files.resolve(settings, weights=False).tag)
    with Publisher(cluster) as publisher:
        for number, title in enumerate(titles):
            page = Page(wiki="testwiki", page_id=str(number), title=title, text=f"{title}: a page says so.")
            publisher.publish([Message(corpus.pages, page.key.encode(), encode(page), number % 4)]).wait(30)
    return model


def services(folder: Path) -> set[str]:
    return {process.service for process in announced(folder / "run" / "announce")}


def replicas(folder: Path) -> set[int]:
    return {process.pid for process in announced(folder / "run" / "announce")}


def test_they_work_off_what_is_there_and_end_when_nothing_more_comes(
    settings_env: SettingsEnv, cluster: Cluster, tmp_path: Path
) -> None:
    model = send_pages(cluster, TITLES)
    workers = start(
        tmp_path,
        settings_env(dtype="fp32"),  # on a busy machine the trial of two precisions takes longer than all else
        *("--chunkers", "1", "--embedders", "1", "--until-drained", "--drained-seconds", "3"),
    )
    said = said_by(workers)
    assert workers.returncode == 0, said
    assert "drained: nothing to do for 3 s" in said
    assert sum(cluster.log(model.vectors).ends.values()) == len(TITLES)
    assert (tmp_path / "logs" / "embed-0.log").exists()
    assert not (tmp_path / "kafka").exists(), "they start no Kafka of their own"


def test_a_killed_embedder_is_started_again_and_sigterm_ends_all_within_ten_seconds(
    settings_env: SettingsEnv, cluster: Cluster, tmp_path: Path
) -> None:
    send_pages(cluster, TITLES)
    workers = start(tmp_path, settings_env(), "--embedders", "1")
    try:
        wait_until(lambda: services(tmp_path) == {"embed"}, "one embedder, and no chunker")
        [first] = replicas(tmp_path)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: replicas(tmp_path) - {first}, "another one")
        assert first not in replicas(tmp_path), "the killed one is no longer announced"
        family = psutil.Process(workers.pid).children(recursive=True)
        began = time.monotonic()
        workers.send_signal(signal.SIGTERM)
        said = said_by(workers)
        assert (workers.returncode, "restarting: embed-0 was killed by SIGKILL" in said) == (0, True), said
        assert time.monotonic() - began < 12
        assert not psutil.wait_procs(family, timeout=2)[1]
        assert owner_of(run_claim_path(tmp_path)) is None
    finally:
        workers.kill()
        workers.communicate()


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_the_supervisor_outlasts_a_page_that_breaks_the_embedder(
    settings_env: SettingsEnv, cluster: Cluster, tmp_path: Path
) -> None:
    traps = [Trap("consumers.embedder:Embedder._ids", "Lighthouse", "raise")]
    model = send_pages(cluster, TITLES)
    options = ("--chunkers", "1", "--embedders", "1", "--until-drained", "--drained-seconds", "20")
    workers = start(tmp_path, armed(tmp_path / "traps", traps, settings_env()), *options)
    try:
        said = workers.communicate(timeout=800)[1]
    finally:
        workers.terminate()
    assert workers.returncode == 0, said
    assert sum(cluster.log(model.vectors).ends.values()) == len(TITLES) - 1
    letters_topic = topics.corpus_topics(ModelSettings()).dead_letters
    [letter] = [read(record)[1] for record in read_to_end(cluster, letters_topic)]
    assert (letter.key, letter.reason) == (b"testwiki:0", "killed")
    assert ": unexpected KeyError: " in (tmp_path / "logs" / "embed-0.log").read_text()


def test_an_embedder_that_cannot_work_ends_them_with_its_code(
    settings_env: SettingsEnv, cluster: Cluster, tmp_path: Path
) -> None:
    workers = start(tmp_path, settings_env(device="cuda:7"), "--embedders", "1")
    said = said_by(workers)
    assert workers.returncode in (2, 70), said
    assert "error: embed-0 ended with code" in said
    assert "embed-0.log" in said


def test_nothing_to_start_and_no_kafka_named_are_refused_in_one_line(
    settings_env: SettingsEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = settings_env()
    nothing = start(tmp_path, environment, "--embedders", "0")
    said = said_by(nothing)
    assert (nothing.returncode, said.count("\n")) == (2, 1), said
    assert "--chunkers" in said
    del environment["KAFKA_BOOTSTRAP_SERVERS"]
    nowhere = start(tmp_path, environment, "--embedders", "1")
    said = said_by(nowhere)
    assert (nowhere.returncode, said.count("\n")) == (2, 1), said
