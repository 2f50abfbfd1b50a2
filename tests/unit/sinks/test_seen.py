"""How far `chunks` may be trimmed: behind what the table's writer has seen of it, whatever is committed."""

from __future__ import annotations

import msgspec
import structlog

from pipeline.records import EmbeddedPage
from sinks.seen import Seen
from sinks.trim_plan import Reader, plan
from tests.tables import embedded


def seen_at(offset: int | None, partition: int = 0) -> EmbeddedPage:
    return msgspec.structs.replace(embedded("enwiki:1", 1, 1, partition=partition), chunks_offset=offset)


def test_the_bound_is_behind_the_furthest_page_of_each_partition() -> None:
    seen = Seen()
    seen.add([seen_at(4), seen_at(9), seen_at(7), seen_at(2, partition=1)])
    assert seen.next_offsets == {0: 10, 1: 3}


def test_a_commit_of_the_end_trims_no_further_than_what_was_seen() -> None:
    seen = Seen()
    seen.add([seen_at(4)])
    committed = {"embed": {0: 1_000, 1: 1_000}}
    reader = Reader()
    reader.saw(committed["embed"], 0.0)
    limits = plan(committed, {"embed": reader}, "embed", seen.next_offsets).limits
    assert limits == {0: 5, 1: 0}


def test_pages_of_an_older_embedder_move_no_bound_and_are_told_of_once() -> None:
    seen = Seen()
    with structlog.testing.capture_logs() as logs:
        seen.add([seen_at(None), seen_at(None)])
    assert seen.next_offsets == {}
    assert [line["log_level"] for line in logs] == ["warning"]
