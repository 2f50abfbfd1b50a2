"""Pages that kill or hang their process, and poison, in every stage: each becomes a dead letter, all others arrive."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from pipeline.dead_letters import read
from pipeline.kafka import read_to_end
from pipeline.publisher import Message, Publisher
from tests.dumps import pair, write_shard
from tests.faults.conftest import NewWorld
from tests.faults.killers import Trap, armed, sprung
from tests.faults.verification import assert_verified
from tests.faults.world import World, live_rows, sentence, text

PAGES = 1_000
WITHIN_SECONDS = 20 * 60
"""Two hangs in a batch (120 s each), three alone (20 s each) and the restarts make seven minutes on an idle machine."""

CHUNKS, EMBEDS, STORES = (
    "consumers.chunking:Chunker.chunk_all",
    "consumers.embedder:Embedder._ids",
    "sinks.table:against",
)
BAD = {
    100: Trap(CHUNKS, "Chunkkiller", "segfault"),
    250: Trap(CHUNKS, "Chunkhanger", "freeze"),
    400: Trap(EMBEDS, "Embedkiller", "segfault"),
    550: Trap(EMBEDS, "Embedhanger", "hang"),
    700: Trap(STORES, "Storekiller", "abort"),
    850: Trap(STORES, "Storehanger", "hang"),
}


@pytest.mark.faults
@pytest.mark.timeout(2 * WITHIN_SECONDS)
def test_a_killer_a_hanger_and_poison_in_each_stage_cost_themselves_alone(
    new_world: NewWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = new_world()
    world.environment = armed(tmp_path / "traps", list(BAD.values()), world.environment)
    poison(world)
    began = time.monotonic()
    for number in (1, 2):
        world.add_chunker(f"chunk{number}")
        world.add_embedder(f"embed{number}")
    world.add_sink()
    world.add_producer(write_corpus(tmp_path / "corpus"))
    world.until(world.complete, "everything is stored, or in the dead letters", timeout_s=WITHIN_SECONDS)
    took = time.monotonic() - began
    ends = {name: len(replica.codes) for name, replica in world.replicas.items() if replica.codes}
    with capsys.disabled():
        print(f"\n1,000 pages, 6 of them killers or hangers: {took:.0f} s; processes that ended: {ends}")
    assert letters(world) == Counter(
        {
            ("chunk", "enwiki:100", "killed"): 1,
            ("chunk", "enwiki:250", "timed_out"): 1,
            ("embed", "enwiki:400", "killed"): 1,
            ("embed", "enwiki:550", "killed"): 1,
            ("lance", "enwiki:700", "killed"): 1,
            ("lance", "enwiki:850", "killed"): 1,
            **{(stage, f"poison:{stage}", "undecodable"): 1 for stage in ("chunk", "embed", "lance")},
        }
    )
    pages = Counter(key.partition("#")[0] for key in live_rows(world.table()))
    assert pages.keys() == {f"enwiki:{number}" for number in range(PAGES) if number not in BAD}
    assert sprung(tmp_path / "traps") >= 4 * 5, "no page is taken for a killer before its fifth"
    assert_verified(world)


def write_corpus(folder: Path) -> Path:
    lines: list[bytes] = []
    for number in range(PAGES):
        rng = random.Random(number)
        mark = BAD[number].mark + ". " if number in BAD else ""
        lines += pair(number, text=mark + text(rng, rng.randint(1, 12)), opening_text=sentence(rng))
    write_shard(folder, lines)
    return folder


def poison(world: World) -> None:
    """A record that nobody can read, before each stage."""
    with Publisher(world.cluster) as publisher:
        for stage, topic in (
            ("chunk", world.names.pages),
            ("embed", world.model.chunks),
            ("lance", world.model.vectors),
        ):
            publisher.publish([Message(topic, f"poison:{stage}".encode(), b"poison", 1)]).wait(60)


def letters(world: World) -> Counter[tuple[str, str, str]]:
    found = [read(record) for record in read_to_end(world.cluster, world.names.dead_letters, deadline_s=60)]
    return Counter((stage, letter.key.decode(), letter.reason) for stage, letter in found)
