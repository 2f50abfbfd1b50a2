"""A table that is gone, another table, another Kafka: each is said clearly, and what is said helps."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import topics
from pipeline.errors import Exit
from tests.faults.conftest import NewWorld
from tests.faults.verification import assert_verified
from tests.faults.world import World, assert_same_rows, live_rows, write_corpus

PAGES = 40


def run(world: World, *command: str, **settings: str) -> tuple[int, str]:
    """Exit code and all output of a command that ends by itself."""
    environment = world.environment | {f"CIRROSTREAM_{key}".upper(): value for key, value in settings.items()}
    done = subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


def filled(world: World, corpus: Path) -> None:
    """Everything stored, and trimmed as the sink does it: what was read is gone from `chunks` and `vectors`."""
    world.add_producer(corpus)
    world.add_chunker("chunk")
    world.add_embedder("embed")
    world.add_sink()
    world.until(world.complete, "everything is stored", 180)
    stop(world, "sink")
    for group, topic in ((world.model.embed_group, world.model.chunks), (world.group, world.model.vectors)):
        world.cluster.trim(topic, world.cluster.committed(group, topic))


def stop(world: World, *names: str) -> None:
    """Ends replicas as an operator does, for good."""
    for name in names:
        replica = world.replicas.pop(name)
        assert replica.child is not None
        assert replica.child.stop(30) == Exit.DONE, replica.last_words()


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_deleted_table_is_filled_again_by_what_its_error_says(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world()
    filled(world, write_corpus(tmp_path / "corpus", range(PAGES), longest=8))
    expected = live_rows(world.table())
    shutil.rmtree(Path(world.table_settings.lance_location))

    code, said = run(world, "sinks.lance")
    assert code == Exit.FATAL
    assert "there is no table yet" in said
    assert "--rebuild" in said
    assert "python -m pipeline.replay --stage chunk" in said

    stop(world, "chunk")
    code, said = run(world, "pipeline.replay", "--stage", "chunk")
    assert code == 0, said
    world.add_sink(rebuild="true")
    world.add_chunker("chunk")
    world.until(world.complete, "everything is stored again", 180)
    assert_same_rows(live_rows(world.table()), expected)
    assert_verified(world)


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_second_table_on_a_trimmed_kafka_is_refused_in_the_same_words(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world()
    filled(world, write_corpus(tmp_path / "corpus", range(6), longest=4))
    code, said = run(world, "sinks.lance", table="another")
    assert code == Exit.FATAL
    assert "there is no table yet" in said
    assert "python -m pipeline.replay --stage chunk" in said


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_an_old_table_under_a_new_kafka_is_refused_with_the_reason(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world()
    filled(world, write_corpus(tmp_path / "corpus", range(6), longest=4))
    stop(world, "chunk", "embed")
    rows = live_rows(world.table())
    names = [world.names.pages, world.model.chunks, world.model.vectors]
    world.cluster.call(lambda: world.cluster.admin.delete_topics(names))
    world.until(lambda: all_gone(world, names), "the topics are gone")
    topics.ensure_corpus(world.cluster, world.settings)
    topics.ensure_model(world.cluster, world.settings, world.tag)

    code, said = run(world, "sinks.lance")
    assert code == Exit.FATAL
    assert "were made anew" in said
    assert "--adopt" in said
    assert live_rows(world.table()).keys() == rows.keys()


def all_gone(world: World, names: list[str]) -> bool:
    there = world.cluster.call(world.cluster.admin.list_topics)
    return not set(names) & set(there)
