"""Processes stopped beyond their session just before they write, replaced, and woken: nothing they still do matters."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from pipeline.errors import Exit
from pipeline.publisher import Message, Publisher
from pipeline.records import Page, encode
from tests.faults.conftest import NewWorld
from tests.faults.verification import assert_verified
from tests.faults.world import Replica, Row, World, assert_same_rows, live_rows, write_corpus

PAGES = 60
SESSION_S = 6
CHUNK_SENDS = "faust.topics:Topic.send"


def zombie(world: World, name: str, module: str, before: str, call: int = 1, **settings: str) -> Replica:
    """A replica that will stop itself just before a call."""
    command = ["tests.faults.stopping", module, before, str(call)]
    return world.add(name, *command, restarts=False, session_seconds=str(SESSION_S), **settings)


def stopped(replica: Replica) -> bool:
    return replica.runs and psutil.Process(replica.pid).status() == psutil.STATUS_STOPPED


def wake(replica: Replica) -> None:
    os.kill(replica.pid, signal.SIGCONT)


def expected_rows(new_world: NewWorld, corpus: Path) -> dict[str, Row]:
    world = new_world()
    world.add_producer(corpus)
    world.add_chunker("chunk")
    world.add_embedder("embed")
    world.add_sink()
    world.until(world.complete, "everything is stored", 180)
    rows = live_rows(world.table())
    world.close()
    return rows


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_zombies_in_every_stage_change_nothing_and_the_woken_sink_exits_3(new_world: NewWorld, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", range(PAGES), longest=12)
    expected = expected_rows(new_world, corpus)
    world = new_world()
    chunker = zombie(world, "zombie-chunk", "consumers.chunk", CHUNK_SENDS)
    embedder = zombie(world, "zombie-embed", "consumers.embed", "pipeline.publisher:Publisher.publish")
    # Its first merge is the take-over.
    sink = zombie(world, "zombie-sink", "sinks.lance", "sinks.merge:Merger._attempt", 2, batch_seconds="0.3")
    world.add_producer(corpus)

    world.until(lambda: stopped(chunker), "the chunker is about to send", 120)
    world.add_chunker("chunk")
    world.until(lambda: stopped(embedder), "the embedder is about to publish", 120)
    world.add_embedder("embed")
    world.until(lambda: stopped(sink), "the sink is about to merge", 120)
    world.add_sink()
    world.until(world.complete, "everything is stored without them", 180)

    for one in (sink, embedder, chunker):
        wake(one)
    world.until(lambda: sink.ended() is not None, "the woken sink ends", 60)
    assert sink.ended() == Exit.REPLACED, sink.last_words()
    world.until(lambda: world.complete() and embedder.works, "what the others sent again is read", 90)
    assert embedder.runs, embedder.last_words()
    assert chunker.runs or chunker.ended() == Exit.TRY_AGAIN, chunker.last_words()
    assert_same_rows(live_rows(world.table()), expected)
    assert_verified(world)


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_zombie_chunkers_old_version_does_not_bring_back_a_deleted_page(new_world: NewWorld) -> None:
    world = new_world()
    page = Page(wiki="testwiki", page_id="1", title="Old", text="This page will be deleted. " * 30)
    other = Page(wiki="testwiki", page_id="2", title="Other", text="This page stays.")
    chunker = zombie(world, "zombie-chunk", "consumers.chunk", CHUNK_SENDS)
    with Publisher(world.cluster) as publisher:
        publisher.publish([Message(world.names.pages, page.key.encode(), encode(page))]).wait(30)
        world.until(lambda: stopped(chunker), "the chunker holds the old version", 120)
        publisher.publish(
            [
                Message(world.names.pages, page.key.encode(), None),
                Message(world.names.pages, other.key.encode(), encode(other)),
            ]
        ).wait(30)
    world.add_chunker("chunk")
    world.add_embedder("embed")
    world.add_sink()
    world.until(lambda: world.complete() and world.has_table() and live_rows(world.table()), "the other is stored", 120)
    before = world.cluster.log(world.model.chunks).ends
    wake(chunker)
    world.until(lambda: world.cluster.log(world.model.chunks).ends != before, "the old version is sent again", 60)
    world.until(world.complete, "and read", 60)
    assert {key.partition("#")[0] for key in live_rows(world.table())} == {other.key}
    assert_verified(world)
