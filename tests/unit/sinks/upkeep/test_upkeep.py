"""Upkeep: when each step is due, what it leaves, and that it never touches a table that is another's."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import structlog
import structlog.testing
from lancedb.index import IvfRq
from lancedb.query import MatchQuery
from lancedb.table import LanceTable

from pipeline.errors import Fatal, Replaced
from pipeline.library_errors import MOST_PANICS
from pipeline.metrics import Metrics
from pipeline.settings import MIB
from sinks.indexes import NAMES, TAIL_ROWS, wanted
from sinks.measure.step import Measuring
from sinks.merge import MERGE_TIMEOUT
from sinks.rows import VectorRule
from sinks.storage import connect
from sinks.table import Table, Written
from sinks.upkeep import (
    IDLE_S,
    KEEP_VERSIONS,
    RETRY_S,
    TMP_AGE_S,
    State,
    Upkeep,
    UpkeepRules,
    UpkeepStep,
    all_due,
    due,
    fragments,
    stale_temporary_files,
)
from sinks.upkeep.rules import Trouble, searchable
from sinks.upkeep.search_indexes import damaged, found_indexes
from tests.panics import panic
from tests.tables import DIMENSION, contents, deletion, embedded, new_table, takeover, texts

RULES = UpkeepRules()
NOW = 10_000.0
MANY = TAIL_ROWS + 1
"""Rows that searches would not read besides the index that lacks them."""
QUIET = State(changed=NOW, optimized=NOW, swept=NOW, measured=NOW + 1)
LACKING = replace(QUIET, lacking=(NAMES,), live_rows=1)


@pytest.mark.parametrize(
    ("state", "step"),
    [
        (QUIET, None),
        (replace(QUIET, merges=19), None),
        (replace(QUIET, merges=20), UpkeepStep.BTREE),
        (replace(QUIET, merges=5, changed=NOW - IDLE_S), UpkeepStep.BTREE),
        (replace(QUIET, merges=4, large_bytes=96 * MIB), UpkeepStep.BTREE),
        (replace(QUIET, merges=4, large_bytes=95 * MIB), None),
        (replace(QUIET, rows=199_999, last_rows=10_000, optimized=NOW - 899), None),
        (replace(QUIET, rows=200_000), UpkeepStep.OPTIMIZE),
        (replace(QUIET, rows=200_000, live_rows=8_000_000, trained_rows=8_000_000), None),
        (replace(QUIET, fragments=300), UpkeepStep.OPTIMIZE),
        (replace(QUIET, rows=1, optimized=NOW - 900), UpkeepStep.OPTIMIZE),
        (replace(QUIET, rows=0, optimized=NOW - 900), None),
        (replace(QUIET, rows=20_000, last_rows=1_001), None),
        (replace(QUIET, rows=20_000, changed=NOW - IDLE_S), UpkeepStep.OPTIMIZE),
        (replace(QUIET, changed=NOW - 3_601, optimized=NOW - 3_000), UpkeepStep.OPTIMIZE),
        (replace(QUIET, changed=NOW - 3_601, optimized=NOW), None),
        (replace(QUIET, changed=NOW - 3_599, optimized=NOW - 3_599), None),
        (replace(QUIET, live_rows=99_999), None),
        (replace(QUIET, live_rows=100_000), UpkeepStep.INDEX),
        (replace(QUIET, live_rows=399_999, trained_rows=100_000), None),
        (replace(QUIET, live_rows=400_000, trained_rows=100_000), UpkeepStep.INDEX),
        (replace(QUIET, live_rows=1_599_999, trained_rows=100_000, last_rows=10_000), None),
        (replace(QUIET, live_rows=1_600_000, trained_rows=100_000, last_rows=10_000), UpkeepStep.INDEX),
        (replace(QUIET, rows=MANY, optimized=NOW - 59), None),
        (replace(QUIET, rows=MANY, optimized=NOW - 60), UpkeepStep.OPTIMIZE),
        (replace(QUIET, rows=MANY, optimized=NOW - 60, last_rows=1_000), UpkeepStep.OPTIMIZE),
        (replace(QUIET, rows=MANY, optimized=NOW - 60, last_rows=1_001), None),
        (replace(QUIET, rows=MANY, optimized=NOW - 60, last_rows=1_001, changed=NOW - IDLE_S), UpkeepStep.OPTIMIZE),
        (replace(QUIET, rows=MANY, optimized=NOW - 399, optimize_took=20), None),
        (replace(QUIET, rows=MANY, optimized=NOW - 400, optimize_took=20), UpkeepStep.OPTIMIZE),
        (replace(QUIET, rows=MANY, optimized=NOW - 11_999, optimize_took=600), None),
        (replace(QUIET, rows=MANY, optimized=NOW - 12_000, optimize_took=600), UpkeepStep.OPTIMIZE),
        (replace(QUIET, rows=MANY, optimized=NOW - 11_999, optimize_took=600, last_rows=10_000), None),
        (replace(QUIET, rows=MANY, optimized=NOW - 2_399, optimize_took=600, changed=NOW - IDLE_S), None),
        (
            replace(QUIET, rows=MANY, optimized=NOW - 2_400, optimize_took=600, changed=NOW - IDLE_S),
            UpkeepStep.OPTIMIZE,
        ),
        (replace(QUIET, rows=20_000, optimized=NOW - 2_399, optimize_took=600, changed=NOW - IDLE_S), None),
        (replace(QUIET, rows=1, optimized=NOW - 11_999, optimize_took=600, changed=NOW - IDLE_S), None),
        (replace(QUIET, rows=1, optimized=NOW - 12_000, optimize_took=600), UpkeepStep.OPTIMIZE),
        (replace(QUIET, rows=1, optimized=NOW - 21_600, optimize_took=6_000), UpkeepStep.OPTIMIZE),
        (replace(QUIET, leases=1, optimized=NOW - 900, optimize_took=600), UpkeepStep.OPTIMIZE),
        (replace(QUIET, rows=MANY, optimized=NOW - 449, rewritten=512 * MIB), None),
        (replace(QUIET, rows=MANY, optimized=NOW - 450, rewritten=512 * MIB), UpkeepStep.OPTIMIZE),
        (
            replace(QUIET, rows=MANY, optimized=NOW - 60, rewritten=512 * MIB, table_bytes=40_960 * MIB),
            UpkeepStep.OPTIMIZE,
        ),
        (replace(QUIET, rows=MANY, optimized=NOW - 79, optimize_took=20, changed=NOW - IDLE_S), None),
        (replace(QUIET, rows=MANY, optimized=NOW - 80, optimize_took=20, changed=NOW - IDLE_S), UpkeepStep.OPTIMIZE),
        (replace(QUIET, rows=TAIL_ROWS, optimized=NOW - 899, changed=NOW - IDLE_S), None),
        (replace(QUIET, rows=30_000, optimized=NOW - 60, changed=NOW - IDLE_S, backfilling=True), None),
        (replace(LACKING, lacking_since=NOW - IDLE_S), UpkeepStep.SEARCH_INDEX),
        (replace(LACKING, lacking_since=NOW - 4), None),
        (replace(LACKING, lacking_since=NOW - 899, last_rows=10_000), None),
        (replace(LACKING, lacking_since=NOW - 900, last_rows=10_000), UpkeepStep.SEARCH_INDEX),
        (replace(LACKING, lacking_since=NOW - 899, backfilling=True), None),
        (replace(LACKING, lacking_since=NOW - IDLE_S, live_rows=0), None),
        (replace(QUIET, suspects={"text_en_idx"}, last_rows=10_000), UpkeepStep.SEARCH_INDEX),
        (replace(QUIET, may_backfill=True), UpkeepStep.BACKFILL),
        (replace(QUIET, may_backfill=True, measured=NOW - 60), UpkeepStep.GAUGES),
        (replace(QUIET, may_backfill=True, last_rows=10_000, backfilled=NOW - 9), None),
        (replace(QUIET, may_backfill=True, last_rows=10_000, backfilled=NOW - 10), UpkeepStep.BACKFILL),
        (replace(QUIET, swept=NOW - TMP_AGE_S), UpkeepStep.SWEEP),
        (replace(QUIET, measured=NOW - 60), UpkeepStep.GAUGES),
        (replace(QUIET, measured=NOW - 60, changed=NOW - 61), None),
        (replace(QUIET, merges=20, rows=200_000, live_rows=100_000), UpkeepStep.BTREE),
        (replace(QUIET, merges=20, rows=200_000, later={UpkeepStep.BTREE: NOW + 1}), UpkeepStep.OPTIMIZE),
        (replace(QUIET, merges=20, later={UpkeepStep.BTREE: NOW}), UpkeepStep.BTREE),
    ],
)
def test_the_most_urgent_step_that_is_due_comes_first(state: State, step: UpkeepStep | None) -> None:
    assert due(state, RULES, NOW) == step


@pytest.mark.parametrize(
    ("state", "ready"),
    [
        (QUIET, True),
        (LACKING, False),
        (replace(LACKING, live_rows=0), True),  # no index is made of nothing
        (replace(QUIET, may_backfill=True), False),
        (replace(QUIET, words_since=1.0), False),
        (replace(QUIET, suspects={"text_en_idx"}), False),
    ],
)
def test_a_table_has_what_searches_want_when_nothing_is_to_come(state: State, ready: bool) -> None:
    assert searchable(state) is ready


def test_versions_are_kept_longer_than_any_merge_can_take() -> None:
    assert timedelta(hours=1) <= KEEP_VERSIONS
    assert 4 * MERGE_TIMEOUT <= KEEP_VERSIONS


class Clock:
    def __init__(self) -> None:
        self.now = 5_000.0

    def __call__(self) -> float:
        return self.now


def upkeep(table: Table, clock: Clock | None = None, **rules: int) -> Upkeep:
    return Upkeep(table, replace(RULES, **rules), Metrics("lance"), clock=clock or Clock())


def test_optimize_leaves_few_fragments_and_no_leftovers_but_remembers_deletions(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    for offset in range(1, 9):
        table.write([embedded("enwiki:1", offset, 9 - offset), deletion(f"enwiki:x{offset}", offset)], {0: offset})
    before = contents(table)
    assert fragments(table) > 4
    upkeep(table).do(UpkeepStep.OPTIMIZE)
    assert fragments(table) <= 2
    dead = table.lance.search().where("n >= 0 AND text IS NULL").select(["id"]).to_arrow()["id"].to_pylist()
    assert sorted(dead) == [f"enwiki:x{offset}#0" for offset in range(1, 9)]
    assert contents(table) == before
    assert table.write([embedded("enwiki:1", 7, 3), embedded("enwiki:x3", 2, 3)], {0: 9}).stale == 2


def test_the_btrees_have_every_row_after_their_rebuild(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    care = upkeep(table, btree_merges=3)
    done = []
    for offset in range(1, 8):
        care.wrote(table.write([embedded(f"enwiki:{offset}", offset, 2)], {0: offset}))
        done.append(care.turn())
    assert done.count(UpkeepStep.BTREE) == 3  # at once, for a new table has none, then every third merge
    upkeep(table).do(UpkeepStep.BTREE)
    for name in ("id_idx", "page_idx"):
        stats = table.lance.index_stats(name)
        assert stats is not None
        assert stats.num_unindexed_rows == 0


def test_large_rows_get_their_btree_sooner_and_usual_ones_do_not(tmp_path: Path) -> None:
    care = upkeep(new_table(tmp_path))
    care.do(UpkeepStep.BTREE)
    care.wrote(Written(1, 0, 10_000, 0, bytes=40_000_000))
    assert care.turn() is not UpkeepStep.BTREE
    care.wrote(Written(1, 0, 100, 0, bytes=120_000_000))
    assert care.turn() is UpkeepStep.BTREE


def test_a_vector_index_waits_for_rows_and_then_finds_them(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    care = upkeep(table, index_rows=600)
    care.do(UpkeepStep.INDEX)
    care.wrote(table.write([embedded(f"enwiki:{n}", n, 10) for n in range(50)], {0: 50}))
    care.do(UpkeepStep.INDEX)
    assert not [index for index in table.lance.list_indices() if index.columns == ["vector"]]
    care.wrote(table.write([embedded(f"enwiki:{n}", n, 10) for n in range(50, 70)], {0: 70}))
    care.do(UpkeepStep.INDEX)
    assert [index.index_type for index in table.lance.list_indices() if index.columns == ["vector"]] == ["IvfRq"]
    row = table.lance.search().where("id = 'enwiki:60#4'").to_arrow().to_pylist()[0]
    hit = table.lance.search(np.array(row["vector"])).distance_type("cosine").refine_factor(5).limit(1).to_list()[0]
    assert hit["id"] == "enwiki:60#4"


def test_an_index_of_another_metric_than_the_models_is_trained_anew(tmp_path: Path) -> None:
    rule = VectorRule(DIMENSION, normalized=False, metric="dot")
    table = new_table(tmp_path, rule=rule)
    table.write([embedded(f"enwiki:{n}", n, 10) for n in range(40)], {0: 40})
    table.lance.create_index("vector", config=IvfRq(distance_type="cosine", num_bits=4))  # as 8c9e2ef did
    care = upkeep(table, index_rows=300)
    assert UpkeepStep.INDEX in all_due(care._state, care._rules, 0)
    care.do(UpkeepStep.INDEX)
    stats = table.lance.index_stats("vector_idx")
    assert stats is not None
    assert stats.distance_type == "dot"
    again = upkeep(table, index_rows=300)
    assert UpkeepStep.INDEX not in all_due(again._state, again._rules, 0)


@pytest.mark.parametrize("step", list(UpkeepStep))
def test_no_step_touches_a_table_that_another_writer_has(tmp_path: Path, step: UpkeepStep) -> None:
    table = new_table(tmp_path)
    care = upkeep(table)
    second = takeover(tmp_path)
    version = second.lance.version
    with pytest.raises(Replaced):
        care.do(step)
    assert takeover(tmp_path).lance.version == version + 1  # the take-over's own


def test_a_step_that_conflicts_is_tried_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    table = new_table(tmp_path)
    care = upkeep(table, clock, btree_merges=1)
    calls = []

    def conflict(*_: object, **__: object) -> None:
        calls.append(clock.now)
        raise RuntimeError("Retryable commit conflict for version 9: preempted by concurrent transaction")

    monkeypatch.setattr(table.lance, "create_index", conflict)
    for _ in range(4):
        care.wrote(Written(1, 0, 1, 0))
        care.turn()
    assert len(calls) == 1
    clock.now += RETRY_S
    care.turn()
    assert len(calls) == 2


def test_a_step_that_panics_is_tried_again_and_ends_the_process_when_it_goes_on_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = new_table(tmp_path)
    care = upkeep(table)
    rebuild = table.lance.create_index
    for _ in range(2):  # a step that succeeds in between has its panics forgotten
        monkeypatch.setattr(table.lance, "create_index", panic)
        for _ in range(MOST_PANICS - 1):
            care.do(UpkeepStep.BTREE)
        monkeypatch.setattr(table.lance, "create_index", rebuild)
        care.do(UpkeepStep.BTREE)
    monkeypatch.setattr(table.lance, "create_index", panic)
    for _ in range(MOST_PANICS - 1):
        care.do(UpkeepStep.BTREE)
    with pytest.raises(Fatal, match="table wikipedia: upkeep, step btree, makes a library written in Rust panic"):
        care.do(UpkeepStep.BTREE)


def test_a_full_disk_is_fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = new_table(tmp_path)

    def full(**_: object) -> None:
        raise RuntimeError("lance error: LanceError(IO): No space left on device (os error 28)")

    monkeypatch.setattr(table.lance, "optimize", full)
    with pytest.raises(Fatal, match="the disk is full; make room"):
        upkeep(table).do(UpkeepStep.OPTIMIZE)


def test_a_users_tag_keeps_old_versions_and_nothing_else_from_upkeep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinks.upkeep.steps.KEEP_VERSIONS", timedelta(milliseconds=1))
    table = new_table(tmp_path)
    care = upkeep(table)
    for offset in range(1, 6):
        care.wrote(table.write([embedded("enwiki:1", offset, 2)], {0: offset}))
    table.lance.tags.create("mine", 2)  # type: ignore[no-untyped-call]
    with structlog.testing.capture_logs() as said:
        care.do(UpkeepStep.OPTIMIZE)
    assert [(line["event"], line["tags"]) for line in said] == [("upkeep.tagged", ["mine"])]
    assert fragments(table) <= 2
    assert care.turn() is not UpkeepStep.OPTIMIZE
    table.lance.tags.delete("mine")  # type: ignore[no-untyped-call]
    before = len(table.lance.list_versions())
    care.do(UpkeepStep.OPTIMIZE)
    assert len(table.lance.list_versions()) < before


def test_only_old_temporary_files_are_swept(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    data = tmp_path / "wikipedia.lance" / "data"
    old, young, other = data / ".tmp_old", data / ".tmp_young", data / "kept.lance"
    for path in (old, young, other):
        path.write_bytes(b"x")
    for path in (old, other):
        os.utime(path, (1, 1))
    upkeep(table).do(UpkeepStep.SWEEP)
    assert not old.exists()
    assert young.exists()
    assert other.exists()


def test_buckets_are_not_swept() -> None:
    assert stale_temporary_files("s3://bucket/wikipedia.lance", time.time()) == []


def test_the_gauges_tell_what_the_table_holds(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    table.write([embedded("enwiki:1", 1, 3), deletion("enwiki:2", 2)], {0: 2})
    metrics = Metrics("lance")
    Upkeep(table, RULES, metrics).do(UpkeepStep.GAUGES)
    found = {
        name: metrics.registry.get_sample_value(f"cirrostream_table_{name}", {"stage": "lance"})
        for name in ("rows", "dead_rows", "fragments")
    }
    assert found["rows"] == 3
    assert found["dead_rows"] == 1
    assert found["fragments"] == fragments(table)


def test_before_a_measurement_the_rows_are_counted_for_written_anew_they_are_no_more(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    care = upkeep(table)
    for offset in (1, 2):
        care.wrote(table.write([embedded("enwiki:1", offset, 3)], {0: offset}))
    assert care._state.live_rows == 6
    care._steps._measuring = Measuring(lambda: Mock(poll=lambda: None), Metrics("lance"))
    care.do(UpkeepStep.MEASURE)
    assert care._state.live_rows == 3


def settled(care: Upkeep, clock: Clock, seconds: float = 10, most: int = 60) -> list[UpkeepStep]:
    """The steps that are done until nothing is due any more, so many seconds later."""
    clock.now += seconds
    done: list[UpkeepStep] = []
    while (step := care.turn()) is not None:
        done.append(step)
        assert len(done) < most
    return done


def found_by(table: Table, words: str, column: str = "text_words") -> set[str]:
    """Pages that the words find in the rows that the index has: in all, for rows of one score have no order."""
    search: Any = table.lance.search
    query: Any = MatchQuery
    found = search(query(words, column), query_type="fts").fast_search().select(["page", "_score"]).limit(10_000)
    return {row["page"] for row in found.to_list()}


def gauge(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(f"cirrostream_table_{name}", {"stage": "lance"})


def language(table: Table, number: int, chunks: int = 1) -> Written:
    """Writes a page whose words only its number has, in a language of no stemmer."""
    return table.write([embedded(f"fywiki:{number}", number, chunks)], {0: number})


def test_a_table_that_is_left_alone_gets_all_its_indexes_one_a_turn_and_then_none(tmp_path: Path) -> None:
    clock, metrics = Clock(), Metrics("lance")
    table = new_table(tmp_path)
    care = Upkeep(table, RULES, metrics, clock=clock)
    care.wrote(language(table, 1))
    assert UpkeepStep.SEARCH_INDEX not in [care.turn() for _ in range(4)]
    assert gauge(metrics, "unindexed_text_since_timestamp_seconds")
    done = settled(care, clock)
    assert done.count(UpkeepStep.SEARCH_INDEX) == len(wanted(table.lance.schema.names, {"text_words"}))
    assert found_by(table, "fywiki") == {"fywiki:1"}
    settled(care, clock, seconds=61)
    assert gauge(metrics, "unindexed_text_since_timestamp_seconds") == 0
    assert gauge(metrics, "unindexed_text_rows") == 0
    assert UpkeepStep.SEARCH_INDEX not in settled(upkeep(table, clock), clock)


def test_words_find_a_row_within_a_minute_of_its_merge_while_little_comes(tmp_path: Path) -> None:
    clock, metrics = Clock(), Metrics("lance")
    table = new_table(tmp_path)
    care = Upkeep(table, RULES, metrics, clock=clock)
    care.wrote(language(table, 1))
    settled(care, clock)
    settled(care, clock, seconds=61)
    for number in range(2, 12):  # an edit every ten seconds: never idle for long
        care.wrote(language(table, number, MANY if number == 2 else 1))
        settled(care, clock, seconds=IDLE_S - 1)
        clock.now += 10
    settled(care, clock, seconds=60)
    assert {"fywiki:1", "fywiki:2"} <= found_by(table, "fywiki")
    assert gauge(metrics, "unindexed_text_since_timestamp_seconds") == 0


def test_a_few_rows_wait_for_their_index_because_searches_read_them(tmp_path: Path) -> None:
    clock, metrics = Clock(), Metrics("lance")
    table = new_table(tmp_path)
    care = Upkeep(table, RULES, metrics, clock=clock)
    care.wrote(language(table, 1))
    settled(care, clock)
    care.wrote(language(table, 2, TAIL_ROWS - 1))
    assert UpkeepStep.OPTIMIZE not in settled(care, clock, seconds=RULES.optimize_seconds / 2)
    assert gauge(metrics, "unindexed_text_since_timestamp_seconds") == 0
    assert UpkeepStep.OPTIMIZE in settled(care, clock, seconds=RULES.optimize_seconds)
    assert found_by(table, "fywiki") == {"fywiki:1", "fywiki:2"}


def test_a_language_that_comes_later_gets_its_index_too(tmp_path: Path) -> None:
    clock = Clock()
    table = new_table(tmp_path)
    care = upkeep(table, clock)
    care.wrote(language(table, 1))
    settled(care, clock)
    care.wrote(table.write([embedded("enwiki:2", 2, 1)], {0: 2}))
    settled(care, clock)
    assert found_by(table, "enwiki", "text_en") == {"enwiki:2"}


def test_a_writer_that_starts_anew_knows_since_when_rows_wait(tmp_path: Path) -> None:
    clock = Clock()
    table = new_table(tmp_path)
    care = upkeep(table, clock)
    care.wrote(language(table, 1))
    settled(care, clock)
    before = time.time()
    language(table, 2, MANY)
    after, metrics = time.time(), Metrics("lance")
    restarted = Upkeep(table, RULES, metrics, clock=clock)
    restarted.do(UpkeepStep.GAUGES)
    since = gauge(metrics, "unindexed_text_since_timestamp_seconds")
    assert since is not None
    assert before - 1 <= since <= after
    settled(restarted, clock, seconds=60)
    assert found_by(table, "fywiki") == {"fywiki:1", "fywiki:2"}


def cut_short(folder: Path, table: Table, column: str) -> str:
    """Halves the files of the column's index; its id."""
    index = str(next(one.index_uuid for one in table.lance.list_indices() if one.columns == [column]))
    for file in (folder / "wikipedia.lance" / "_indices" / index).iterdir():
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return index


def made_anew(table: Table, column: str, before: str) -> bool:
    """True when the column has another index, which can be read."""
    found = [one.index_uuid for one in table.lance.list_indices() if one.columns == [column]]
    return found != [before] and len(found) == 1 and not list(damaged(table.lance, found_indexes(table.lance)))


@pytest.mark.parametrize("column", ["text_words", "vector"])
def test_an_index_that_an_optimize_cannot_read_is_removed_and_made_anew(tmp_path: Path, column: str) -> None:
    clock = Clock()
    table = new_table(tmp_path)
    care = upkeep(table, clock, index_rows=300)
    care.wrote(table.write([embedded(f"fywiki:{n}", n, 10) for n in range(1, 41)], {0: 40}))
    settled(care, clock)
    before = cut_short(tmp_path, table, column)
    table = takeover(tmp_path)  # with nothing in memory
    care = upkeep(table, clock, index_rows=300)
    with structlog.testing.capture_logs() as said:
        care.wrote(language(table, 41, MANY))
        settled(care, clock, seconds=RETRY_S + 1)
        settled(care, clock, seconds=RETRY_S + 1)
    assert [line["index"] for line in said if line["event"] == "upkeep.index_damaged"] == [f"{column}_idx"]
    assert made_anew(table, column, before)


@pytest.mark.parametrize("column", ["names", "wiki", "page"])
def test_an_index_that_a_search_panics_over_is_removed_and_made_anew(tmp_path: Path, column: str) -> None:
    clock = Clock()
    table = new_table(tmp_path)
    care = upkeep(table, clock)
    care.wrote(language(table, 1))
    settled(care, clock)
    before = cut_short(tmp_path, table, column)
    lance = connect(str(tmp_path)).open_table("wikipedia")
    assert isinstance(lance, LanceTable)
    table.lance = lance  # with nothing in memory
    care = Upkeep(table, RULES, Metrics("lance"), clock=clock, search=panic)
    settled(care, clock, seconds=RULES.search_seconds + 1)
    settled(care, clock, seconds=IDLE_S)
    assert made_anew(table, column, before)


def test_a_disk_that_fills_while_an_index_is_made_is_said_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    table = new_table(tmp_path)
    care = upkeep(table, clock)
    care.wrote(language(table, 1))
    create = table.lance.create_index

    def full(column: str, **options: Any) -> None:
        if column == "text_words":
            raise RuntimeError("lance error: LanceError(IO): No space left on device (os error 28)")
        create(column, **options)

    monkeypatch.setattr(table.lance, "create_index", full)
    with pytest.raises(Fatal, match="table wikipedia: the disk is full; make room, then start again: nothing was lost"):
        settled(care, clock)
    assert contents(table) == {"fywiki:1": texts(embedded("fywiki:1", 1, 1))}
    monkeypatch.undo()
    settled(upkeep(table, clock), clock)
    assert found_by(table, "fywiki") == {"fywiki:1"}


def test_an_index_whose_build_was_killed_is_made_by_the_next_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    table = new_table(tmp_path)
    care = upkeep(table, clock)
    care.wrote(language(table, 1))

    def killed(*_: object, **__: object) -> None:
        raise SystemExit(9)

    monkeypatch.setattr(table.lance, "create_index", killed)
    with pytest.raises(SystemExit):
        settled(care, clock)
    half = tmp_path / "wikipedia.lance" / "_indices" / "0b0b8b6e-3a7c-4f6c-9a53-1d2f3a4b5c6d"
    half.mkdir(parents=True)
    (half / "part_0_docs.lance").write_bytes(b"half")
    second = takeover(tmp_path)
    settled(upkeep(second, clock), clock)
    assert found_by(second, "fywiki") == {"fywiki:1"}


def test_a_build_that_panics_is_tried_again_and_the_other_indexes_are_made_meanwhile_or_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    table = new_table(tmp_path)
    care = upkeep(table, clock)
    care.wrote(language(table, 1))
    settled(care, clock, seconds=0)
    create, calls = table.lance.create_index, []

    def once(column: str, **options: Any) -> None:
        calls.append(column)
        if len(calls) == 1:
            panic()
        create(column, **options)

    monkeypatch.setattr(table.lance, "create_index", once)
    settled(care, clock)
    settled(care, clock, seconds=RETRY_S + 1)
    assert calls[0] == "text_words"
    assert found_by(table, "fywiki") == {"fywiki:1"}


@pytest.mark.parametrize("panics", [True, False])
def test_an_index_that_cannot_be_made_holds_neither_the_others_nor_the_writer_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, panics: bool
) -> None:
    clock = Clock()
    table = new_table(tmp_path)
    care = upkeep(table, clock)
    care.wrote(language(table, 1))
    create, tries = table.lance.create_index, []

    def never(column: str, **options: Any) -> None:
        if column == "text_words":
            tries.append(clock.now)
            if panics:
                panic()
            raise RuntimeError("lance error: not today")
        create(column, **options)

    monkeypatch.setattr(table.lance, "create_index", never)
    with structlog.testing.capture_logs() as said:
        settled(care, clock)
        settled(care, clock, seconds=RETRY_S)
        assert [index.column for index in care._state.lacking] == ["text_words"]
        for _ in range(40):
            settled(care, clock, seconds=RETRY_S)
    given_up = [line["column"] for line in said if line["event"] == "upkeep.search_index_given_up"]
    waits = [round((later - sooner) / RETRY_S) for sooner, later in pairwise(tries)]
    if panics:
        assert (waits, given_up) == ([1, 2], ["text_words"])
    else:
        assert (waits, given_up) == ([1, 2, 4, 8, 16], [])
    assert searchable(care._state) is panics


def test_the_wait_for_an_index_that_cannot_be_made_ends_at_a_day() -> None:
    trouble = Trouble()
    for _ in range(2_000):
        trouble = trouble.more(NOW, panicked=False)
    assert trouble.until == NOW + 24 * 3600


def test_an_index_that_is_never_as_it_was_asked_for_is_not_made_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinks.indexes._is_made_by", lambda details, tokenizer: False)
    clock = Clock()
    table = new_table(tmp_path)
    care = upkeep(table, clock)
    care.wrote(language(table, 1))
    with structlog.testing.capture_logs() as said:
        settled(care, clock)
    refused = [line["column"] for line in said if line["event"] == "upkeep.search_index_refused"]
    assert refused == ["text_words", "names"]
    assert UpkeepStep.SEARCH_INDEX not in settled(care, clock, seconds=1_000)
