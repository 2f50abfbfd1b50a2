"""Derived columns of rows that have none: made anew by the writer, whoever else works on the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from lancedb.index import BTree

from pipeline.errors import Replaced
from pipeline.metrics import Metrics
from pipeline.records import EmbeddedPage
from sinks import backfill
from sinks.derived import FIELDS
from sinks.rows import MADE_BY, STALE
from sinks.table import Table
from sinks.upkeep import Upkeep, UpkeepRules, UpkeepStep
from tests.merging import Merging
from tests.tables import connect, contents, deletion, embedded, new_table, takeover, texts

PAGES = [embedded("dewiki:1", 1, 3), embedded("enwiki:2", 2, 2), embedded("enwiki:3", 3, 1)]
ADDED = [field.name for field in (*FIELDS, *MADE_BY)]


def older(folder: Path, pages: list[EmbeddedPage] = PAGES) -> Table:
    """A table of before these columns, with the indexes of its time, taken over."""
    table = new_table(folder)
    table.write([*pages, deletion("enwiki:9", 9)], {0: 10})
    for column in ("id", "page"):
        table.lance.create_index(column, config=BTree())
    table.lance.drop_columns(ADDED)
    return takeover(folder)


def rows_of(table: Table, *left_out: str) -> dict[str, dict[str, Any]]:
    found = table.lance.search().where("n >= 0").to_arrow()
    keep = [name for name in found.column_names if name not in left_out]
    return {row["id"]: row for row in found.select(keep).to_pylist()}


def stale(table: Table) -> int:
    return int(table.lance.count_rows(STALE))


def user(folder: Path) -> Any:
    return connect(str(folder)).open_table("wikipedia")


def test_a_table_of_before_is_filled_in_several_calls_and_is_as_if_written_today(tmp_path: Path) -> None:
    table = older(tmp_path / "older")
    assert [table.backfill(4), table.backfill(4), table.backfill(4)] == [4, 2, 0]
    today = new_table(tmp_path / "today")
    today.write([*PAGES, deletion("enwiki:9", 9)], {0: 10})
    made = [field.name for field in MADE_BY]
    assert rows_of(table, *made) == rows_of(today, *made)
    assert table.fence.offsets == {0: 10}


def test_what_is_filled_is_left_alone(tmp_path: Path) -> None:
    table = older(tmp_path)
    table.backfill(100)
    version = table.lance.version
    assert table.backfill(100) == 0
    assert table.lance.version == version


def test_rows_of_older_rules_are_made_anew(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    table.write(PAGES, {0: 4})
    before = rows_of(table)
    table.lance.update(where="n = 0", values={"derived": 0, "name": "of older rules"})
    assert table.backfill(100) == 3
    assert rows_of(table) == before


def test_a_derived_column_that_was_dropped_is_made_anew(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    table.write(PAGES, {0: 4})
    before = rows_of(table)
    user(tmp_path).drop_columns(["text_en"])
    assert table.backfill(100) == 6
    assert rows_of(table) == before


@pytest.mark.parametrize("done", [False, True])
def test_killed_before_or_after_the_merge_it_goes_on_where_it_was(tmp_path: Path, done: bool) -> None:
    table = older(tmp_path)

    def killed(real: Callable[[Any], object], rows: Any, call: int) -> None:
        if done:
            real(rows)
        raise KeyboardInterrupt

    Merging(table, killed)
    with pytest.raises(KeyboardInterrupt):
        table.backfill(4)
    again = takeover(tmp_path)
    assert stale(again) == (2 if done else 6)
    while again.backfill(4):
        pass
    assert stale(again) == 0
    assert contents(again) == {page.key: texts(page) for page in PAGES}


@pytest.mark.parametrize("when", ["before it reads", "before it merges"])
def test_a_writer_that_was_replaced_fills_nothing(tmp_path: Path, when: str) -> None:
    table = older(tmp_path)
    if when == "before it reads":
        takeover(tmp_path)
    else:
        Merging(table, lambda real, rows, call: (takeover(tmp_path), real(rows)))
    with pytest.raises(Replaced):
        table.backfill(100)
    assert stale(table) == 6


NOTES = {"string": (pa.string(), "'mine'"), "number": (pa.float32(), "0.5"), "array": (pa.list_(pa.float32(), 4), None)}


@pytest.mark.parametrize("kind", NOTES)
def test_columns_of_somebody_else_keep_their_values(tmp_path: Path, kind: str) -> None:
    field, value = NOTES[kind]
    table = older(tmp_path)
    user(tmp_path).add_columns(pa.schema([pa.field("my note", field)]))
    if value is not None:
        user(tmp_path).update(where="n = 0 AND start IS NOT NULL", values_sql={"my note": value})
    before = {name: row["my note"] for name, row in rows_of(table).items()}
    assert len(set(map(str, before.values()))) == (1 if value is None else 2)
    assert [table.backfill(100), table.backfill(100)] == [6, 0]
    assert {name: row["my note"] for name, row in rows_of(table).items()} == before


def test_a_note_that_is_made_while_rows_are_filled_stays(tmp_path: Path) -> None:
    table = older(tmp_path)
    user(tmp_path).add_columns(pa.schema([pa.field("note", pa.string())]))

    def noted(real: Callable[[Any], object], rows: Any, call: int) -> None:
        if call == 1:
            user(tmp_path).update(where="id = 'enwiki:2#1'", values={"note": "just now"})
        real(rows)

    Merging(table, noted)
    assert [table.backfill(100), table.backfill(100), table.backfill(100)] == [6, 1, 0]
    assert rows_of(table)["enwiki:2#1"]["note"] == "just now"


def test_a_row_that_changed_or_went_meanwhile_does_not_come_back(tmp_path: Path) -> None:
    table = older(tmp_path)

    def changed(real: Callable[[Any], object], rows: Any, call: int) -> None:
        user(tmp_path).update(where="id = 'dewiki:1#0'", values={"source": 99, "text": "newer"})
        user(tmp_path).delete("id = 'dewiki:1#2'")
        real(rows)

    Merging(table, changed)
    assert table.backfill(100) == 6
    found = rows_of(table)
    assert (found["dewiki:1#0"]["text"], found["dewiki:1#0"]["derived"]) == ("newer", None)
    assert "dewiki:1#2" not in found
    assert found["dewiki:1#1"]["derived"] == 1


def test_damaged_rows_do_not_hold_the_others_up(tmp_path: Path) -> None:
    table = older(tmp_path)
    table.lance.update(where="id = 'dewiki:1#0'", values={"source": None})
    table.lance.update(where="id = 'dewiki:1#1'", values={"id": None})
    table.lance.add(table.lance.search().where("id = 'enwiki:3#0'").to_arrow())
    table.lance.update(where="id = 'enwiki:2#0'", values={"text": None})
    for _ in range(3):
        table.backfill(100)
    assert table.backfill(100) == 0
    assert stale(table) == 2


def test_large_rows_are_filled_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [embedded(f"enwiki:{n}", n, 10) for n in range(1, 11)]
    table = older(tmp_path, pages)
    monkeypatch.setattr(backfill, "MAX_BYTES", 20 * 500)
    done = []
    while made := table.backfill(1_000):
        done.append(made)
    assert sum(done) == 100
    assert max(done) < 30
    monkeypatch.setattr(backfill, "MAX_BYTES", 1)
    table.lance.update(values={"derived": 0})
    assert table.backfill(1_000) == 1, "one row goes in any case"


def filled_by_upkeep(care: Upkeep, table: Table) -> bool:
    """Lets it do the step as often as it is due."""
    for _ in range(50):
        if not care._state.may_backfill:
            return stale(table) == 0
        care.do(UpkeepStep.BACKFILL)
    return False


def test_upkeep_goes_on_until_large_rows_are_filled_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = older(tmp_path, [embedded(f"enwiki:{n}", n, 10) for n in range(1, 5)])
    monkeypatch.setattr(backfill, "MAX_BYTES", 20 * 500)
    assert filled_by_upkeep(Upkeep(table, UpkeepRules(), Metrics("lance")), table)


def test_upkeep_notices_a_column_that_was_dropped_while_it_ran(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    table.write(PAGES, {0: 4})
    care = Upkeep(table, UpkeepRules(), Metrics("lance"))
    assert filled_by_upkeep(care, table)
    user(tmp_path).drop_columns(["derived"])
    care.wrote(table.write([embedded("enwiki:4", 5, 1)], {0: 6}))
    assert stale(table) == 6
    assert filled_by_upkeep(care, table)
