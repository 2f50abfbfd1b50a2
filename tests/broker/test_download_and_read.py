"""A wiki's name is enough: its newest complete snapshot is downloaded, and read while the rest still comes."""

from __future__ import annotations

import bz2
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.kafka import Cluster, read_to_end
from pipeline.settings import Settings
from pipeline.topics import corpus_topics
from tests.conftest import SettingsEnv
from tests.dump_server import DumpServer, Fault
from tests.dumps import joined, pairs

WIKI, DATE = "simplewiki", "20261115"


@pytest.fixture
def server() -> Iterator[DumpServer]:
    with DumpServer() as server:
        shards = [bz2.compress(joined(pairs(range(100 * n, 100 * n + 50)))) for n in range(5)]
        server.add_dump(WIKI, DATE, shards)
        server.add_dump(WIKI, "20261122", shards, done=False)
        yield server


def run(env: dict[str, str], *arguments: str, code: int = 0) -> tuple[dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-m", "producers.cirrus", "--json", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return (json.loads(done.stdout) if done.stdout else {}), done.stderr


def keys(cluster: Cluster) -> list[str]:
    topic = corpus_topics(Settings()).pages
    return sorted(bytes(record.key).decode() for record in read_to_end(cluster, topic, deadline_s=60))


def test_a_wiki_is_downloaded_and_read_once_whatever_the_server_does(
    server: DumpServer, cluster: Cluster, settings_env: SettingsEnv, tmp_path: Path
) -> None:
    paths = [path for path in server.files if DATE in path and path.endswith(".bz2")]
    server.faults[paths[0]].append(Fault(close_after=200))
    server.faults[paths[2]].append(Fault(status=429, headers={"Retry-After": "0"}))
    env = settings_env()
    said, _ = run(env, "--wiki", WIKI, "--mirror", server.address, "--delete-after")
    assert said["total"]["produced"] == 250
    assert {shard["snapshot"] for shard in said["shards"]} == {DATE}, "the newer one is not complete"
    assert len(keys(cluster)) == len(set(keys(cluster))) == 250
    assert not list((tmp_path / "dumps").rglob("*.bz2")), "each was deleted once it was read"
    assert server.most_connections <= 2

    asked = sum(server.asked("GET", path) for path in paths)
    again, _ = run(env, "--wiki", WIKI, "--mirror", server.address, "--delete-after")
    assert [shard["state"] for shard in again["shards"]] == ["skipped"] * 5
    assert sum(server.asked("GET", path) for path in paths) == asked, "nothing is downloaded again"
    assert len(keys(cluster)) == 250


def test_what_came_before_a_download_failed_is_sent_and_the_error_is_said(
    server: DumpServer, cluster: Cluster, settings_env: SettingsEnv
) -> None:
    paths = sorted(path for path in server.files if DATE in path and path.endswith(".bz2"))
    server.faults[paths[4]].append(Fault(status=403))
    said, errors = run(settings_env(), "--wiki", WIKI, "--mirror", server.address, code=2)
    assert "403" in errors
    assert said["total"]["produced"] >= 150
    assert len(keys(cluster)) == said["total"]["produced"]
    said, _ = run(settings_env(), "--wiki", WIKI, "--mirror", server.address)
    assert said["total"]["produced"] == 250


def test_sources_and_a_wiki_do_not_go_together(settings_env: SettingsEnv, tmp_path: Path) -> None:
    assert "not both" in run(settings_env(), "--wiki", WIKI, str(tmp_path), code=2)[1]


def test_a_folder_of_a_store_is_a_source(cluster: Cluster, settings_env: SettingsEnv, tmp_path: Path) -> None:
    folder = tmp_path / "bucket" / f"index_name={WIKI}_content"
    folder.mkdir(parents=True)
    for number in range(2):
        shard = bz2.compress(joined(pairs(range(100 * number, 100 * number + 10))))
        (folder / f"{WIKI}_content-{DATE}-{number:05}.json.bz2").write_bytes(shard)
    said, _ = run(settings_env(), f"file://{folder}")
    assert said["total"]["produced"] == 20
    assert {shard["snapshot"] for shard in said["shards"]} == {DATE}
    assert len(keys(cluster)) == 20
