"""Indexes of a table: which ones it should have, which of those it has, and what searches find with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
import pytest
from lancedb.index import FTS, Bitmap, BTree
from lancedb.query import MatchQuery
from lancedb.table import LanceTable

from pipeline.errors import Fatal
from pipeline.library_errors import LibraryError
from sinks.derived import FIELDS
from sinks.indexes import FILTERS, NAMES, Found, Index, Kind, in_the_way, is_text, lacking, text_indexes, wanted
from sinks.languages import TEXT_COLUMNS, Tokenizer
from sinks.rows import VectorRule, table_schema
from sinks.table_indexes import found_indexes, texts_with_rows
from sinks.upkeep.search_indexes import damaged, make, may_be_damage

COLUMNS = table_schema(VectorRule(8)).names
ENGLISH = Index("text_en", Kind.TEXT, TEXT_COLUMNS["text_en"])
STEMMED = {"base_tokenizer": "simple", "stem": True, "language": "English", "remove_stop_words": False}


def text_found(name: str = "text_en_idx", **details: object) -> Found:
    return Found(name, "text_en", "FTS", details={**STEMMED, **details})


def test_a_table_gets_indexes_for_words_first_then_for_filters_and_none_for_an_empty_text_column() -> None:
    columns = [index.column for index in wanted(COLUMNS, {"text_de", "text_en"})]
    assert columns[:3] == ["text_de", "text_en", "names"]
    assert set(columns[3:]) == {index.column for index in FILTERS}


def test_a_table_without_some_columns_gets_no_indexes_of_those() -> None:
    derived = {field.name for field in FIELDS}
    older = [column for column in COLUMNS if column not in derived]
    assert {index.column for index in wanted(older, {"text_en"})}.isdisjoint(derived)
    assert {"wiki", "categories", "timestamp"} <= {index.column for index in wanted(older, ())}


def test_every_text_column_has_its_own_tokenizer_and_no_stop_words_are_left_out() -> None:
    made = {index.column: index.config() for index in text_indexes(TEXT_COLUMNS)}
    assert len(made) == len(TEXT_COLUMNS)
    german, icu, words = made["text_de"], made["text_icu"], made["text_words"]
    assert isinstance(german, FTS)
    assert (german.base_tokenizer, german.stem, german.language) == ("simple", True, "German")
    assert isinstance(icu, FTS)
    assert (icu.base_tokenizer, icu.stem) == ("icu", False)
    assert isinstance(words, FTS)
    assert (words.base_tokenizer, words.stem) == ("simple", False)
    assert not any(config.remove_stop_words for config in made.values() if isinstance(config, FTS))


@pytest.mark.parametrize(
    ("found", "serves"),
    [
        (text_found(), True),
        (text_found("mine"), True),
        (text_found(remove_stop_words=True), False),
        (text_found(language="German"), False),
        (text_found(base_tokenizer="ngram"), False),
        (text_found(max_token_length=40), False),
        (Found("text_en_idx", "text_en", "FTS"), True),  # a LanceDB that does not tell
        (Found("text_en_idx", "text_en", "Fm"), False),
        (Found("text_de_idx", "text_de", "FTS", details=STEMMED), False),
    ],
)
def test_a_full_text_index_serves_only_as_it_is_asked_for(found: Found, serves: bool) -> None:
    assert (lacking([ENGLISH], [found]) == ()) is serves


@pytest.mark.parametrize(
    ("index", "kind", "serves"),
    [
        (Index("wiki", Kind.BITMAP), "BTree", True),
        (Index("timestamp", Kind.BTREE), "Bitmap", True),
        (Index("wiki", Kind.BITMAP), "FTS", False),
        (Index("categories", Kind.LABELS), "LabelList", True),
        (Index("categories", Kind.LABELS), "BTree", False),
    ],
)
def test_a_users_index_that_serves_the_same_filters_is_enough(index: Index, kind: str, serves: bool) -> None:
    assert (lacking([index], [Found("theirs", index.column, kind)]) == ()) is serves
    assert in_the_way(index, [Found("theirs", index.column, kind)]) == ()


def test_only_our_own_full_text_indexes_tell_since_when_rows_wait() -> None:
    assert is_text(text_found())
    assert is_text(Found("names_idx", "names", "FTS"))
    assert not is_text(Found("text_idx", "text", "FTS"))
    assert not is_text(Found("wiki_idx", "wiki", "Bitmap"))


def words_table(folder: Path, **columns: list[Any]) -> LanceTable:
    rows = len(next(iter(columns.values())))
    data = pa.table({"n": pa.array(range(rows), pa.int32()), **columns})
    table = lancedb.connect(str(folder)).create_table("t", data)
    assert isinstance(table, LanceTable)
    return table


def hits(table: LanceTable, column: str, words: str, fuzziness: int = 0) -> list[int]:
    search: Any = table.search
    query: Any = MatchQuery
    found = search(query(words, column, fuzziness=fuzziness), query_type="fts").select(["n", "_score"]).limit(10)
    return [row["n"] for row in found.to_list()]


def test_another_full_text_index_of_a_column_is_replaced_for_it_would_be_asked_instead(tmp_path: Path) -> None:
    table = words_table(tmp_path, text_en=["The houses of a street", "nothing of the kind"])
    table.create_index("text_en", config=FTS(stem=False), name="theirs")
    assert hits(table, "text_en", "house") == []
    make(table, ENGLISH)
    assert [found.name for found in found_indexes(table)] == ["text_en_idx"]
    assert hits(table, "text_en", "house") == [0]
    assert sorted(hits(table, "text_en", "of")) == [0, 1]  # a stop word
    assert lacking([ENGLISH], found_indexes(table)) == ()


def test_a_bitmap_index_stays_where_a_user_made_a_btree_and_ours_comes_beside_an_index_that_does_not_serve(
    tmp_path: Path,
) -> None:
    table = words_table(tmp_path, wiki=["enwiki", "dewiki"], timestamp=["2024", "2025"])
    table.create_index("wiki", config=BTree())
    table.create_index("timestamp", config=FTS())
    filters = [index for index in FILTERS if index.column in ("wiki", "timestamp")]
    for index in lacking(filters, found_indexes(table)):
        make(table, index)
    assert {(found.column, found.kind) for found in found_indexes(table)} == {
        ("wiki", "BTree"),
        ("timestamp", "FTS"),
        ("timestamp", "BTree"),
    }
    assert table.count_rows("timestamp > '2024'") == 1


def test_names_are_found_with_a_letter_wrong_without_their_accents_and_however_long(tmp_path: Path) -> None:
    long = "rindfleischetikettierungsuberwachungsaufgabenubertragungsgesetz"
    table = words_table(tmp_path, names=["łodz\nlodz", "albert einstein", "достопримечательности", long, None])
    make(table, NAMES)
    assert hits(table, "names", "einstien", 2) == [1]
    assert hits(table, "names", "ainstein", 1) == [1]
    assert hits(table, "names", "lodz") == [0]
    assert hits(table, "names", "достопримечательности") == [2]
    assert hits(table, "names", long) == [3]


def test_every_index_that_a_table_should_have_can_be_made_and_is_then_as_it_was_asked_for(tmp_path: Path) -> None:
    lance = lancedb.connect(str(tmp_path)).create_table("t", schema=table_schema(VectorRule(8)))
    assert isinstance(lance, LanceTable)
    for index in wanted(COLUMNS, TEXT_COLUMNS):
        make(lance, index)
    assert lacking(wanted(COLUMNS, TEXT_COLUMNS), found_indexes(lance)) == ()


def test_filters_find_the_same_with_an_index_and_in_rows_that_it_lacks(tmp_path: Path) -> None:
    kinds = pa.list_(pa.string())
    table = words_table(tmp_path, categories=[["a", "b"], None, [], ["b"]], wiki=["x", "y", "x", "y"])
    conditions = ["array_has_any(categories, ['b'])", "array_has(categories, 'a')", "wiki = 'x'", "wiki IN ('x', 'y')"]
    before = [table.count_rows(condition) for condition in conditions]
    for index in FILTERS:
        if index.column in ("categories", "wiki"):
            make(table, index)
    assert [table.count_rows(condition) for condition in conditions] == before == [2, 1, 2, 4]
    table.add(pa.table({"n": pa.array([4], pa.int32()), "categories": pa.array([["b"]], kinds), "wiki": ["y"]}))
    assert [table.count_rows(condition) for condition in conditions] == [3, 1, 2, 5]


def test_a_text_column_counts_as_having_rows_when_one_row_has_something_in_it(tmp_path: Path) -> None:
    table = words_table(tmp_path, text_en=[None, "word"], text_de=[None, None], wiki=["x", "y"])
    assert texts_with_rows(table) == {"text_en"}


def test_a_tokenizer_of_words_is_what_names_get() -> None:
    assert NAMES.tokenizer == Tokenizer()
    assert isinstance(Index("wiki", Kind.BITMAP).config(), Bitmap)


GONE = "lance error: Not found: t.lance/_indices/0b0b/part_0_docs.lance"
BUSY = "lance error: LanceError(IO): Generic LocalFileSystem error: Unable to open file t.lance/_indices/0b0b/a.lance: "


@pytest.mark.parametrize(
    ("says", "dropped"),
    [
        (["LanceError(IO): failed to fill whole buffer"] * 2, True),
        ([GONE] * 2, True),
        ([BUSY + "Too many open files (os error 24)"] * 2, False),
        ([BUSY + "503 Service Unavailable"] * 2, False),
        ([GONE, ""], False),
        ([GONE, BUSY + "Too many open files (os error 24)"], False),
    ],
)
def test_an_index_is_damaged_only_if_what_is_read_says_so_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: list[str], dropped: bool
) -> None:
    table = words_table(tmp_path, names=["one"])
    make(table, NAMES)
    answers = iter(says)

    def prewarm(name: str) -> None:
        if answer := next(answers):
            raise RuntimeError(answer)

    monkeypatch.setattr(table, "prewarm_index", prewarm)
    assert [one.name for one in damaged(table, found_indexes(table))] == (["names_idx"] if dropped else [])


def test_a_file_that_may_not_be_read_is_for_the_operator_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = words_table(tmp_path, names=["one"])
    make(table, NAMES)

    def refused(name: str) -> None:
        raise RuntimeError(BUSY + "Permission denied (os error 13)")

    monkeypatch.setattr(table, "prewarm_index", refused)
    with pytest.raises(Fatal, match="this user may not write there"):
        list(damaged(table, found_indexes(table)))


@pytest.mark.parametrize(
    ("says", "suspected"),
    [(GONE, True), ("Invalid range", True), (BUSY + "Too many open files (os error 24)", False), ("conflict", False)],
)
def test_indexes_are_suspected_when_an_error_tells_of_damage(says: str, suspected: bool) -> None:
    assert may_be_damage(LibraryError(RuntimeError(says))) is suspected
