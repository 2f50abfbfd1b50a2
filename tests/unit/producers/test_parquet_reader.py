"""Rows of Parquet files become pages, with bounded memory, from any row on."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UsageError
from pipeline.records import Page
from producers.account import Ledger
from producers.bytes.blocks import Damaged, WrongKind
from producers.bytes.lines import Position
from producers.fields.parquet_rows import ParquetRows
from producers.fields.settings import MappingSettings
from producers.parquet import ParquetReader, check_columns
from tests.reading import Counted, Passed, shard_of

SETTINGS = MappingSettings()


def table(count: int) -> pa.Table:
    return pa.table(
        {
            "id": list(range(count)),
            "title": [f"Title {n}" for n in range(count)],
            "text": [f"The text of {n}." for n in range(count)],
            "meta": [{"by": "Ada", "n": n} for n in range(count)],
        }
    )


def written(path: Path, rows: pa.Table, group: int = 7) -> Path:
    pq.write_table(rows, path, row_group_size=group)
    return path


def reader_of(path: Path, line: int = 0, settings: MappingSettings = SETTINGS) -> Counted:
    ledger = Ledger(lines=line, read=line, produced=line)
    return Counted(ParquetReader(shard_of(path), settings), Position(line), ledger)


def passed(reader: Counted) -> list[Passed]:
    return list(reader.read())


def pages(path: Path, settings: MappingSettings = SETTINGS) -> tuple[list[Page], Ledger]:
    reader = reader_of(path, settings=settings)
    return [entry.page for entry in passed(reader) if entry.page is not None], reader.ledger


def test_every_row_becomes_a_page_with_the_other_columns_as_metadata(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", table(30))
    found, ledger = pages(path)
    assert ledger == Ledger(lines=30, read=30, produced=30)
    assert [page.key for page in found] == [f"docs:{n}" for n in range(30)]
    assert (found[9].title, found[9].text) == ("Title 9", "The text of 9.")
    assert json.loads(found[9].metadata) == {"meta": {"by": "Ada", "n": 9}}


def test_reading_goes_on_at_any_row(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", table(30))
    whole = passed(reader_of(path))
    for line in range(31):
        reader = reader_of(path, line)
        assert passed(reader) == whole[line:]
        assert reader.ledger.produced == 30


def test_columns_of_any_type_are_metadata_and_dates_are_iso_8601(tmp_path: Path) -> None:
    day, moment = date(2026, 11, 15), datetime(2026, 11, 15, 10, 20, 30, tzinfo=UTC)
    rows = pa.table(
        {
            "id": pa.array(["a"], pa.large_string()),
            "text": pa.array(["x"]).dictionary_encode(),
            "timestamp": pa.array([moment], pa.timestamp("ns", "Europe/Berlin")),
            "categories": pa.array([["One", "Two"]]),
            "day": pa.array([day]),
            "price": pa.array([Decimal("1.50")]),
            "far": pa.array([9_000_000], pa.date32()),
            "raw": pa.array([b"x"]),
            "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            "vector": pa.array([[0.5] * 8], pa.list_(pa.float32(), 8)),
        }
    )
    (page,), ledger = pages(written(tmp_path / "a.parquet", rows), MappingSettings(skip_fields="vector"))
    assert (page.timestamp, page.categories) == ("2026-11-15T10:20:30Z", ("One", "Two"))
    said = json.loads(page.metadata)
    assert "far" in said, "beyond what Python has for a date"
    del said["far"]
    assert said == {"day": "2026-11-15", "price": "1.50", "raw": "eA==", "map": [["k", 1]]}
    assert not ledger.mended


def test_what_is_wrong_with_a_row_is_counted_and_costs_no_neighbour(tmp_path: Path) -> None:
    ends = b"".join(place.to_bytes(4, "little") for place in (0, 1, 3, 3, 4, 5, 6))
    bad_text = pa.Array.from_buffers(pa.string(), 6, [None, pa.py_buffer(ends), pa.py_buffer(b"a\xffb def")])
    rows = pa.table({"id": ["1", "2", "3", None, "5\n", "5"], "text": bad_text})
    found, ledger = pages(written(tmp_path / "a.parquet", rows))
    assert [(page.page_id, page.text) for page in found] == [("1", "a"), ("2", "\ufffdb"), ("5", "e")]
    assert ledger.dropped == {"empty": 1, "missing_id": 1, "bad_id": 1}


def test_an_id_that_comes_twice_is_noted(tmp_path: Path) -> None:
    found, ledger = pages(written(tmp_path / "a.parquet", pa.table({"id": [1, 2, 1], "text": ["a", "b", "c"]})))
    assert len(found) == 3
    assert ledger.mended == {"duplicate_id": 1}


def test_a_cut_off_file_and_one_that_is_no_parquet_are_damaged(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.parquet", table(30)).read_bytes()
    for name, content, kind in (
        ("cut", whole[:-100], "cut off"),
        ("other", b"<html>", "corrupt"),
        ("none", b"", "corrupt"),
    ):
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(content)
        with pytest.raises(Damaged) as damage:
            passed(reader_of(path))
        assert damage.value.kind == kind
        check_columns(path, SETTINGS)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"id": "1", "text": "A text."}', "it is text, and no Parquet file: `mv a.parquet a.jsonl`"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS .* `git lfs pull` fetches it"),
        (b"<html><body>Not found</body></html>", "it is a page of HTML"),
    ],
)
def test_a_file_that_is_no_parquet_says_what_it_is(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(WrongKind, match=sentence):
        passed(reader_of(path))


def test_damage_inside_costs_what_stands_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table(4_000), path, row_group_size=1_000, compression="zstd", use_dictionary=False)
    group = pq.ParquetFile(path).metadata.row_group(2).column(2)
    whole = bytearray(path.read_bytes())
    place = group.data_page_offset
    whole[place : place + 60] = b"\xff" * 60
    path.write_bytes(whole)
    reader = reader_of(path)
    with pytest.raises(Damaged):
        passed(reader)
    assert reader.ledger.produced == 2_000
    assert reader.ledger.balanced


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"id_field": "nr"}, r"no column nr; there are id, title, text, meta\.by, meta\.n: name one with --id-field"),
        ({"text_fields": "text,body"}, "no column body.*--text-fields"),
        ({"url_field": "link"}, "no column link.*--url-field"),
        ({"text_fields": "meta.n"}, "column meta.n holds int64, no text"),
        ({"preset": "arxiv"}, "no column abstract"),
    ],
)
def test_a_column_that_is_not_there_is_wrong_use_and_those_there_are_are_named(
    tmp_path: Path, flags: dict[str, str], said: str
) -> None:
    path = written(tmp_path / "a.parquet", table(1))
    with pytest.raises(UsageError, match=said):
        check_columns(path, MappingSettings(**flags))  # type: ignore[arg-type]


def test_columns_that_are_there_are_fine_nested_ones_and_usual_names_that_are_not(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", table(1))
    check_columns(path, SETTINGS)
    check_columns(path, MappingSettings(id_field="meta.n", text_fields="text,meta.by", title_field=""))


def test_a_field_that_a_folder_names_needs_no_column(tmp_path: Path) -> None:
    path = tmp_path / "lang=de" / "a.parquet"
    path.parent.mkdir()
    pq.write_table(table(1), path)
    settings = MappingSettings(language_field="lang")
    check_columns(path, settings)
    (page,) = Counted(ParquetReader(shard_of(path), settings)).pages()
    assert page.language == "de"


def test_a_row_group_of_large_rows_is_read_a_few_at_a_time(tmp_path: Path) -> None:
    rows = pa.table({"id": list(range(40)), "text": ["long " * 200_000] * 40})
    path = tmp_path / "a.parquet"
    pq.write_table(rows, path, use_dictionary=False, write_batch_size=1)
    before = pa.total_allocated_bytes()
    peak = 0
    for _ in ParquetRows(path).read():
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert 0 < peak < 24 * 1024 * 1024, "of 40 MB of text"


def test_ids_of_a_column_with_gaps_are_whole_numbers(tmp_path: Path) -> None:
    rows = pa.table(
        {"id": pa.array([1.0, None, 2.0, 2.5]), "text": ["a", "b", "c", "d"], "area": [1.5, 2.0, float("nan"), 0.0]}
    )
    path = written(tmp_path / "a.parquet", rows)
    check_columns(path, SETTINGS)
    found, ledger = pages(path)
    assert [(page.page_id, page.metadata) for page in found] == [("1", '{"area":1.5}'), ("2", "")]
    assert ledger.dropped == {"missing_id": 1, "bad_type": 1}


def test_a_text_that_all_rows_share_takes_no_memory_for_each(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": list(range(500)), "text": ["x" * 300_000] * 500}), path, compression="zstd")
    assert path.stat().st_size < 10_000
    before = pa.total_allocated_bytes()
    most = max(pa.total_allocated_bytes() - before for _ in ParquetRows(path).read())
    assert most < 20_000_000
