"""Two snapshots, one after the other, leave the table that the second alone would have made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.dumps import pair, pairs, write_shard
from tests.faults.conftest import NewWorld
from tests.faults.verification import assert_verified
from tests.faults.world import World, assert_same_rows, live_rows

FIRST, SECOND = "20261101", "20261115"


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_the_table_after_two_snapshots_is_that_of_the_second_alone(new_world: NewWorld, tmp_path: Path) -> None:
    gone = pair(9, page_type="redirect", text="", title="Redirect 9")
    write_shard(tmp_path / FIRST, pairs(range(1, 10)), 0, snapshot=FIRST)
    write_shard(tmp_path / FIRST, pairs(range(11, 40)), 1, snapshot=FIRST)
    changed = [
        *pair(2, text="It was edited, and is longer now. " * 40, version=77),
        *pair(3, title="Moved", version=78),
        *pair(4, redirect=[{"namespace": 0, "title": "Another name"}]),
        *pairs([1, 5, 6, 7, 50]),
        *gone,
    ]
    write_shard(tmp_path / SECOND, changed, 0, snapshot=SECOND)
    write_shard(tmp_path / SECOND, pairs(range(12, 40)), 1, snapshot=SECOND)

    alone = started(new_world())
    read(alone, tmp_path / SECOND, "only")
    expected, aliases = live_rows(alone.table()), aliases_of(alone)
    alone.close()

    world = started(new_world())
    read(world, tmp_path / FIRST, "first")
    finish(world, FIRST)
    read(world, tmp_path / SECOND, "second")
    finish(world, SECOND)
    world.until(world.complete, "the deletions are stored", 120)
    assert_same_rows(live_rows(world.table()), expected)
    assert aliases_of(world) == aliases
    assert_verified(world)


def started(world: World) -> World:
    world.add_chunker("chunk1")
    world.add_embedder("embed1")
    world.add_sink()
    return world


def read(world: World, folder: Path, name: str) -> None:
    world.add_producer(folder, name)
    world.until(world.complete, f"the {name} snapshot is stored", 200)


def finish(world: World, snapshot: str) -> None:
    command = [sys.executable, "-m", "producers.cirrus", "--finish", snapshot, "--max-deletions", "0.5"]
    done = subprocess.run(command, env=world.environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def aliases_of(world: World) -> dict[str, list[str]]:
    found = world.table().search().where("n = 0 AND start IS NOT NULL").select(["page", "aliases"]).to_arrow()
    return {row["page"]: row["aliases"] for row in found.to_pylist()}
