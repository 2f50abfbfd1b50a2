"""Replicas come, go and die; no partition waits longer than 15 s for a living one."""

from __future__ import annotations

import signal
import threading

import pytest

from pipeline.publisher import Message, Publisher
from pipeline.records import Page, encode
from tests.faults.conftest import NewWorld
from tests.faults.world import World

PATIENCE_S = 15


class Feeder:
    """A page into every partition, twice a second."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        partitions = self._world.cluster.log(self._world.names.pages).ends
        with Publisher(self._world.cluster) as publisher:
            while not self._stopping.wait(0.5):
                for partition in partitions:
                    number += 1
                    page = Page(wiki="testwiki", page_id=str(number), title=f"Page {number}", text="Rain fell all day.")
                    publisher.publish(
                        [Message(self._world.names.pages, page.key.encode(), encode(page), partition)]
                    ).wait(30)

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(30)


def embedders(world: World) -> int:
    """Members of the embed group."""
    group = world.model.embed_group
    return len(world.cluster.call(lambda: world.cluster.admin.describe_groups([group]))[group]["members"])


def assert_every_partition_is_worked_on(world: World) -> None:
    """What stands in `chunks` now is embedded soon, in every partition."""
    ends = world.cluster.log(world.model.chunks).ends

    def done() -> bool:
        committed = world.cluster.committed(world.model.embed_group, world.model.chunks)
        return all(committed.get(partition, 0) >= end for partition, end in ends.items())

    world.until(done, "every partition is worked on", PATIENCE_S)


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_partitions_find_a_living_embedder_within_15_seconds(new_world: NewWorld) -> None:
    world = new_world(partitions=6)
    world.add_chunker("chunk1")
    first = world.add_embedder("embed1")
    feeder = Feeder(world)
    try:
        world.until(lambda: first.works, "the first works", 120)
        assert_every_partition_is_worked_on(world)

        second, third = world.add_embedder("embed2"), world.add_embedder("embed3")
        world.until(lambda: embedders(world) == 3, "three are in the group", 120)
        assert_every_partition_is_worked_on(world)
        world.until(lambda: second.works and third.works, "all three have a share", PATIENCE_S)

        second.restarts = third.restarts = False
        second.send(signal.SIGTERM)
        world.until(lambda: second.ended() is not None, "the second ends cleanly", 10)
        assert second.ended() == 0, second.last_words()
        assert_every_partition_is_worked_on(world)

        third.kill()
        assert_every_partition_is_worked_on(world)
    finally:
        feeder.close()
