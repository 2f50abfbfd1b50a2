"""kill -9 of anything at any moment changes nothing in the table."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest

from tests.faults.conftest import NewWorld
from tests.faults.verification import assert_verified
from tests.faults.world import Replica, Row, Watch, World, assert_same_rows, live_rows, pause_between, write_corpus

KILLS = {"producer": 4, "chunk": 4, "embed": 4, "sink": 4}
PAGES_A_KILL = 25
TOTAL = sum(KILLS.values())


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_sixteen_kills_in_one_run_leave_the_table_of_an_undisturbed_run(new_world: NewWorld, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", range(PAGES_A_KILL * TOTAL), shards=TOTAL, longest=30)
    expected = undisturbed(new_world(), corpus)
    world = new_world()
    for number in (1, 2):
        world.add_chunker(f"chunk{number}")
        world.add_embedder(f"embed{number}")
    world.add_sink()
    watch = Watch(world)
    try:
        kills = kill_at_random(world, sorted(corpus.rglob("*.bz2")), random.Random(20_261_122))
        world.until(world.complete, "everything is stored", timeout_s=400)
    finally:
        watch.close()
    assert kills >= 15
    watch.assert_nothing_was_wrong()
    assert_verified(world)
    assert_same_rows(live_rows(world.table()), expected)


def undisturbed(world: World, corpus: Path) -> dict[str, Row]:
    world.add_producer(corpus)
    world.add_chunker("chunk1")
    for number in (1, 2):
        world.add_embedder(f"embed{number}")
    world.add_sink()
    world.until(world.complete, "everything is stored", timeout_s=300)
    assert not any(replica.codes for replica in world.replicas.values()), "somebody had to be started again"
    rows = live_rows(world.table())
    assert len({key.partition("#")[0] for key in rows}) == PAGES_A_KILL * TOTAL
    world.close()
    return rows


def kill_at_random(world: World, shards: list[Path], rng: random.Random) -> int:
    """Kills each role as often as `KILLS` says, in a random order at random moments; gives how many were hit.

    A new shard is sent before each kill, so that every stage has work when it happens.
    """
    victims = [role for role, times in KILLS.items() for _ in range(times)]
    rng.shuffle(victims)
    hit = 0
    for shard, role in zip(shards, victims, strict=True):
        producer = world.add_producer(shard, f"producer-{shard.name}", progress_pages="5")
        victim = producer
        if role != "producer":
            victim = world.replicas[rng.choice([name for name in world.replicas if name.startswith(role)])]
            world.until(partial(_is_ready, victim), f"{victim.name} is at work", 120)
        pause_between(rng, 0.2, 1.0, world)
        if victim.runs:
            victim.kill()
            hit += 1
    return hit


def _is_ready(replica: Replica) -> bool:
    return replica.ready
