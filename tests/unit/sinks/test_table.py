"""The write protocol: what a table holds after versions, deletions, duplicates, kills and rivals."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.errors import Fatal, Replaced, TryAgain, UsageError, WorkFailed
from pipeline.library_errors import MOST_PANICS
from pipeline.records import Source
from sinks.about import About
from sinks.fence import FENCE_ID, Fence, UnknownPagesTopic, Version, new_stamp
from sinks.measured import LegWeights, Measured
from sinks.rows import VectorRule, fence_row
from sinks.storage import connect, read_fence, retried
from sinks.table import Table
from tests.merging import Merging
from tests.panics import panic
from tests.tables import FENCE, RULE, contents, deletion, embedded, new_table, takeover, texts


def dead_rows(table: Table) -> list[str]:
    rows = table.lance.search().where("n >= 0 AND text IS NULL").select(["id"]).to_arrow()
    return sorted(rows["id"].to_pylist())


def test_a_new_version_with_fewer_chunks_leaves_exactly_its_own(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    table.write([embedded("enwiki:1", 5, 4)], {0: 6})
    written = table.write([embedded("enwiki:1", 7, 2)], {0: 8})
    assert contents(table) == {"enwiki:1": texts(embedded("enwiki:1", 7, 2))}
    assert (written.rows, written.dead_rows) == (2, 2)
    assert dead_rows(table) == ["enwiki:1#2", "enwiki:1#3"]


def test_a_new_table_has_files_whose_columns_of_one_value_are_read_at_once(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    table.write([embedded("enwiki:1", 1, 2)], {0: 2})
    table.lance.optimize()
    files = list(tmp_path.rglob("data/*.lance"))
    assert {struct.unpack("<HH", file.read_bytes()[-8:-4]) for file in files} == {(2, 1)}


def test_a_new_version_with_more_chunks_revives_dead_rows(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    for offset, chunks in ((1, 3), (2, 1), (3, 5)):
        table.write([embedded("enwiki:1", offset, chunks)], {0: offset + 1})
    assert contents(table) == {"enwiki:1": texts(embedded("enwiki:1", 3, 5))}
    assert dead_rows(table) == []


def test_a_deletion_followed_by_a_stale_older_version_leaves_the_page_deleted(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    table.write([embedded("enwiki:1", 3, 2)], {0: 4})
    table.write([deletion("enwiki:1", 9)], {0: 10})
    stale = table.write([embedded("enwiki:1", 5, 3)], {0: 11})
    assert contents(table) == {}
    assert stale.stale == 1
    assert dead_rows(table) == ["enwiki:1#0", "enwiki:1#1"]


def test_a_deletion_of_a_page_never_seen_is_remembered(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    table.write([deletion("enwiki:1", 9)], {0: 1})
    table.write([embedded("enwiki:1", 8, 3)], {0: 2})
    assert contents(table) == {}
    table.write([embedded("enwiki:1", 10, 1)], {0: 3})
    assert contents(table) == {"enwiki:1": texts(embedded("enwiki:1", 10, 1))}


def test_a_page_without_chunks_hides_its_older_version(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    table.write([embedded("enwiki:1", 1, 2)], {0: 1})
    table.write([embedded("enwiki:1", 2, 0)], {0: 2})
    assert contents(table) == {}
    table.write([embedded("enwiki:1", 1, 2)], {0: 3})
    assert contents(table) == {}


def test_only_the_newest_message_of_a_page_in_a_batch_counts(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    written = table.write([embedded("enwiki:1", 2, 1), embedded("enwiki:1", 4, 3), embedded("enwiki:1", 3, 5)], {0: 3})
    assert contents(table) == {"enwiki:1": texts(embedded("enwiki:1", 4, 3))}
    assert (written.pages, written.stale) == (1, 2)


def test_killed_between_write_and_commit_writes_no_row_twice(tmp_path: Path) -> None:
    batch = [embedded(f"enwiki:{n}", n, 3) for n in range(1, 6)] + [deletion("enwiki:9", 8)]
    new_table(tmp_path).write(batch, {0: 9})
    restarted = takeover(tmp_path)
    before = rows_without_fence(restarted)
    written = restarted.write(batch, {0: 9})
    assert (written.rows, written.dead_rows, written.stale) == (0, 0, 6)
    assert rows_without_fence(restarted) == before
    assert restarted.fence.offsets == {0: 9}


def rows_without_fence(table: Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.lance.search().where("n >= 0").to_arrow().to_pylist()
    return sorted(rows, key=lambda row: row["id"])


def test_the_fence_never_goes_back(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    table.write([], {0: 9, 1: 4})
    table.write([], {0: 3, 2: 1})
    assert takeover(tmp_path).fence.offsets == {0: 9, 1: 4, 2: 1}


def test_a_note_in_the_fence_stays_through_merges_and_take_overs(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    table.write([embedded("enwiki:1", 1, 2)], {0: 2})
    found = Measured(at="2026-01-01T00:00:00Z", rows=2, weights={"de": LegWeights(vector=0.5)})
    table.note(lambda fence: msgspec.structs.replace(fence, search=found, about=About(model="a/b")))
    table.write([embedded("enwiki:2", 2, 1)], {0: 3})
    again = takeover(tmp_path)
    assert (again.fence.search, again.fence.about) == (found, About(model="a/b"))
    assert again.fence.reset({0: 1}).search == found
    assert again.fence.offsets == {0: 3}
    with pytest.raises(Replaced):
        table.note(lambda fence: fence)


def test_pages_of_a_recreated_topic_are_newer_than_all_before(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    table.write([embedded("enwiki:1", 900, 3)], {0: 1})
    adopted = Table.take_over(
        connect(str(tmp_path)), "wikipedia", FENCE, RULE, lambda fence: with_pages(fence, ("pages-id", "pages-2"))
    )
    with pytest.raises(UnknownPagesTopic, match="--adopt"):
        table.fence.version(Source("pages-2", 0, 2))
    adopted.write([embedded("enwiki:1", 2, 1, topic="pages-2")], {0: 2})
    adopted.write([embedded("enwiki:1", 901, 2)], {0: 3})
    assert contents(adopted) == {"enwiki:1": texts(embedded("enwiki:1", 2, 1))}


def with_pages(fence: Fence, pages: tuple[str, ...]) -> Fence:
    return msgspec.structs.replace(fence, pages=pages)


def test_a_writer_that_was_replaced_writes_nothing(tmp_path: Path) -> None:
    first = new_table(tmp_path)
    first.write([embedded("enwiki:1", 1, 2)], {0: 2})
    second = takeover(tmp_path)
    with pytest.raises(Replaced):
        first.write([embedded("enwiki:1", 5, 1), embedded("enwiki:2", 6, 1)], {0: 7})
    with pytest.raises(Replaced):
        first.still_mine()
    second.still_mine()
    assert contents(second) == {"enwiki:1": texts(embedded("enwiki:1", 1, 2))}
    assert read_fence(second.lance).fence.offsets == {0: 2}


def test_a_writer_at_work_does_not_keep_another_from_taking_over(tmp_path: Path) -> None:
    first = new_table(tmp_path)
    merges = iter(range(2, 5))

    def while_the_first_writes(fence: Fence) -> Fence:
        if (number := next(merges, None)) is not None:
            first.write([embedded("enwiki:1", number, 1)], {0: number + 1})
        return fence

    second = Table.take_over(connect(str(tmp_path)), "wikipedia", FENCE, RULE, while_the_first_writes)
    assert second.fence.offsets == {0: 5}, "what was written meanwhile counts"
    with pytest.raises(Replaced):
        first.write([], {0: 9})
    second.write([embedded("enwiki:1", 5, 1)], {0: 6})
    assert contents(second) == {"enwiki:1": texts(embedded("enwiki:1", 5, 1))}


def test_one_that_slept_while_taking_over_leaves_the_table_to_its_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = new_table(tmp_path)
    monkeypatch.setattr("sinks.table.TAKE_OVER_SECONDS", -1.0)  # over when it wakes

    def asleep(fence: Fence) -> Fence:
        first.write([], {0: 1})
        return fence

    with pytest.raises(Replaced):
        Table.take_over(connect(str(tmp_path)), "wikipedia", FENCE, RULE, asleep)
    first.write([], {0: 2})


def test_of_two_creators_one_is_the_writer(tmp_path: Path) -> None:
    first = new_table(tmp_path)
    second = new_table(tmp_path)
    with pytest.raises(Replaced):
        first.write([], {0: 1})
    second.write([], {0: 1})


def test_page_ids_with_sql_in_them_are_found_again(tmp_path: Path) -> None:
    keys = [
        "a'b",
        "a\\",
        "a\\'",
        "'); DROP",
        "%",
        "_",
        '"x"',
        "a#0",
        "a#0#0",
        "日本",
        "\u2028",
        "$1",
        "?",
        "--",
        "x" * 256,
    ]
    pages = [embedded(f"enwiki:{key}", 1, 2) for key in keys]
    table = new_table(tmp_path)
    table.write(pages, {0: 1})
    assert table.write(pages, {0: 2}).stale == len(keys)
    assert contents(table) == {page.key: texts(page) for page in pages}


def test_more_pages_than_one_look_up_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinks.table.LOOK_UP_PAGES", 3)
    pages = [embedded(f"enwiki:{n}", 1, 1) for n in range(10)]
    table = new_table(tmp_path)
    table.write(pages, {0: 1})
    assert table.write(pages, {0: 2}).stale == 10


def test_half_precision_vectors_are_kept_as_such(tmp_path: Path) -> None:
    rule = VectorRule(8, "f16")
    fence = Fence(model="m", dimension=8, vector_type="f16", vectors="v", pages=("pages-id",))
    table = new_table(tmp_path, fence, rule)
    table.write([embedded("enwiki:1", 1, 2), deletion("enwiki:2", 2)], {0: 1})
    column = table.lance.search().where("text IS NOT NULL").to_arrow()["vector"]
    assert str(column.type).startswith("fixed_size_list<item: halffloat")
    assert column.null_count == 0


@pytest.mark.parametrize(
    "other",
    [
        Fence(model="e5-2", dimension=8, vectors="v", pages=("p",)),
        Fence(model="minilm-1", dimension=16, vectors="v", pages=("p",)),
        Fence(model="minilm-1", dimension=8, vector_type="f16", vectors="v", pages=("p",)),
    ],
)
def test_a_table_of_another_model_is_refused_by_both_names(tmp_path: Path, other: Fence) -> None:
    new_table(tmp_path)
    with pytest.raises(Fatal, match=r"minilm-1 \(8 x f32\).*CIRROSTREAM_TABLE") as refused:
        takeover(tmp_path, other)
    assert f"{other.model} ({other.dimension} x {other.vector_type})" in str(refused.value)


def test_a_table_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    connect(str(tmp_path)).create_table("wikipedia", [{"id": "x", "stamp": 1, "fence": "y"}])
    with pytest.raises(UsageError, match="another program's: it has the columns id, stamp, fence"):
        takeover(tmp_path)


def test_two_fence_rows_are_fatal(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    table.lance.add(fence_row(FENCE, new_stamp(), None, RULE), on_bad_vectors="null")
    with pytest.raises(Fatal, match="2 fence rows"):
        table.still_mine()
    with pytest.raises(Fatal, match="2 fence rows"):
        takeover(tmp_path)


def test_a_table_that_vanishes_is_fatal_and_not_made_again(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    shutil.rmtree(tmp_path / "wikipedia.lance")
    with pytest.raises(Fatal, match="vanished"):
        table.write([embedded("enwiki:1", 1, 1)], {0: 1})
    assert not (tmp_path / "wikipedia.lance").exists()


def test_a_merge_that_failed_after_it_was_done_counts_as_done(tmp_path: Path) -> None:
    table = new_table(tmp_path)

    def done_yet_failed(real: Callable[[Any], object], rows: Any, call: int) -> None:
        real(rows)
        raise RuntimeError("connection reset")

    merging = Merging(table, done_yet_failed)
    table.write([embedded("enwiki:1", 1, 1)], {0: 1})
    assert merging.calls == 1
    assert table.fence.offsets == {0: 1}


def test_a_success_that_never_happened_is_tried_again(tmp_path: Path) -> None:
    table = new_table(tmp_path)

    def acknowledged_for_nothing(real: Callable[[Any], object], rows: Any, call: int) -> None:
        if call > 2:
            real(rows)

    Merging(table, acknowledged_for_nothing)
    table.write([embedded("enwiki:1", 1, 1)], {0: 1})
    assert contents(table) == {"enwiki:1": texts(embedded("enwiki:1", 1, 1))}


def test_a_merge_that_lands_late_is_recognised(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    held: list[Any] = []

    def late(real: Callable[[Any], object], rows: Any, call: int) -> None:
        held.append(rows)
        if call == 2:
            real(held[0])
            raise RuntimeError("Divide by zero")
        if call > 2:
            real(rows)

    Merging(table, late)
    table.write([embedded("enwiki:1", 1, 1)], {0: 1})
    table.write([], {0: 2})
    assert takeover(tmp_path).fence.offsets == {0: 2}


def test_conflicts_without_end_end_the_process(tmp_path: Path) -> None:
    table = new_table(tmp_path)

    def conflict(real: Callable[[Any], object], rows: Any, call: int) -> None:
        raise RuntimeError("Retryable commit conflict for version 3")

    Merging(table, conflict)
    with pytest.raises(TryAgain, match="Retryable commit conflict"):
        table.write([embedded("enwiki:1", 1, 1)], {0: 1})
    assert read_fence(table.lance).fence.offsets == {}


def test_refused_rows_are_not_tried_twice(tmp_path: Path) -> None:
    table = new_table(tmp_path)

    def refuse(real: Callable[[Any], object], rows: Any, call: int) -> None:
        raise ValueError("Ambiguous merge inserts are prohibited")

    merging = Merging(table, refuse)
    with pytest.raises(WorkFailed, match="Ambiguous"):
        table.write([], {0: 1})
    assert merging.calls == 1


def test_a_merge_that_panics_once_is_tried_again(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    merging = Merging(table, lambda real, rows, call: panic() if call == 1 else real(rows))
    table.write([embedded("enwiki:1", 1, 1)], {0: 1})
    assert merging.calls == 2
    assert contents(table) == {"enwiki:1": texts(embedded("enwiki:1", 1, 1))}


def test_a_merge_that_panics_after_it_was_done_counts_as_done(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    merging = Merging(table, lambda real, rows, call: (real(rows), panic()))
    table.write([embedded("enwiki:1", 1, 1)], {0: 1})
    assert (merging.calls, table.fence.offsets) == (1, {0: 1})


def test_a_merge_that_panics_under_another_writer_ends_as_replaced(tmp_path: Path) -> None:
    table = new_table(tmp_path)

    def another(real: Callable[[Any], object], rows: Any, call: int) -> None:
        takeover(tmp_path)
        panic()

    Merging(table, another)
    with pytest.raises(Replaced):
        table.write([embedded("enwiki:1", 1, 1)], {0: 1})


def test_a_merge_that_goes_on_panicking_ends_the_process_in_one_line(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    merging = Merging(table, panic)
    says = r"table wikipedia: a merge makes a library written in Rust panic.*doctor"
    with pytest.raises(WorkFailed, match=says) as ended:  # the page in it may be what does it
        table.write([embedded("enwiki:1", 1, 1)], {0: 1})
    assert merging.calls == MOST_PANICS
    with pytest.raises(Fatal, match=says):
        table.write([], {0: 1})
    assert "\n" not in str(ended.value)
    assert read_fence(table.lance).fence.offsets == {}


def test_a_read_that_goes_on_panicking_ends_the_process_in_one_line() -> None:
    with pytest.raises(Fatal, match="table wikipedia: being read makes a library written in Rust panic"):
        retried(panic, "wikipedia", lambda _: None)
    calls: list[int] = []

    def once() -> int:
        calls.append(1)
        if len(calls) == 1:
            panic()
        return 7

    assert retried(once, "wikipedia", lambda _: None) == 7


def test_rows_without_version_or_number_give_way_to_ours(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    table.write([embedded("enwiki:1", 1, 3), embedded("enwiki:2", 2, 2)], {0: 3})
    table.lance.update(where="id IN ('enwiki:1#0', 'enwiki:2#1')", values={"source": None})
    table.lance.update(where="id = 'enwiki:1#1'", values={"n": None})
    table.lance.update(where="id = 'enwiki:1#2'", values={"n": -5})
    table.write([embedded("enwiki:1", 5, 3), embedded("enwiki:2", 6, 2)], {0: 7})
    assert contents(table) == {
        page.key: texts(page) for page in (embedded("enwiki:1", 5, 3), embedded("enwiki:2", 6, 2))
    }


def test_a_version_that_cannot_be_gives_way_to_an_older_one_and_keeps_nothing(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    sound, forged = embedded("enwiki:1", 9, 2), embedded("enwiki:1", 1 << 40, 5)
    table.write([forged, embedded("enwiki:2", 8, 2)], {0: 1})
    asked = []

    def impossible(version: Version, partition: int) -> bool:
        asked.append((version, partition))
        return version >= 1 << 40

    again = [sound, embedded("enwiki:2", 8, 2), embedded("enwiki:3", 1, 1)]
    assert table.write(again, {0: 2}).stale == 2
    written = table.write(again, {0: 2}, impossible)
    assert (written.pages, written.stale, asked) == (1, 2, [(1 << 40, 0)])
    assert contents(table)["enwiki:1"] == texts(sound)
    assert table.write([embedded("enwiki:1", 10, 3)], {0: 3}).pages == 1, "the order is as before"


def test_a_writer_without_its_stamp_overrules_nothing(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    forged = embedded("enwiki:1", 1 << 40, 2)
    table.write([forged], {0: 1})
    takeover(tmp_path)
    with pytest.raises(Replaced):
        table.write([embedded("enwiki:1", 9, 2)], {0: 2}, lambda version, partition: True)
    assert contents(table)["enwiki:1"] == texts(forged)


@pytest.mark.parametrize("copies", [1, 2])
def test_a_damaged_page_is_written_anew_by_a_newer_version_and_by_nothing_else(tmp_path: Path, copies: int) -> None:
    table = new_table(tmp_path)
    table.write([embedded("enwiki:1", 1, 3), embedded("enwiki:2", 2, 2)], {0: 1})
    twin = table.lance.search().where("id = 'enwiki:1#1'").to_arrow()
    for _ in range(copies):
        table.lance.add(twin)
    assert table.write([embedded("enwiki:1", 1, 3)], {0: 2}).stale == 1
    newer = embedded("enwiki:1", 4, 2)
    assert table.write([newer], {0: 5}).pages == 1
    assert contents(table) == {"enwiki:1": texts(newer), "enwiki:2": texts(embedded("enwiki:2", 2, 2))}
    table.lance.add(table.lance.search().where("id = 'enwiki:1#1'").to_arrow())
    assert table.write([deletion("enwiki:1", 6)], {0: 7}).dead_rows == 1
    assert table.write([embedded("enwiki:1", 5, 2)], {0: 8}).stale == 1, "the deletion is remembered"


def test_the_fence_is_not_a_page(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    assert FENCE_ID not in contents(table)
    assert table.lance.search([0.1] * 8).to_arrow().num_rows == 0
