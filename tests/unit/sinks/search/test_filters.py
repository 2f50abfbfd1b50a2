"""Filters: LanceDB keeps the rows that a person would keep, and no value gets out of its literal."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lancedb.index import Bitmap, BTree, LabelList
from lancedb.table import LanceTable

from pipeline.errors import UsageError
from sinks.derived import facets_of
from sinks.search.filters import Filters, metadata_of

NASTY = (
    "x",
    "x'y",
    "' OR 1=1 --",
    "');DROP TABLE t;--",
    "\\",
    "\\'",
    '"',
    "`",
    "a]",
    "b', 'c",
    "%",
    "云",
    "\x00",
    "a\nb",
)
TIMES = (
    "",
    "2026-11-14T23:59:59Z",
    "2026-11-15",
    "2026-11-15T00:00:00Z",
    "2026-11-15T12:00:00",
    "2026-11-16T00:00:00Z",
)

ROWS: list[dict[str, Any]] = [
    {
        "id": str(n),
        "wiki": ("awiki", "bwiki", None)[n % 3],
        "language": ("de", "pt-BR", "", "ptx", None)[n % 5],
        "categories": None if n % 5 == 0 else [NASTY[n % len(NASTY)], NASTY[(n * 3) % len(NASTY)]],
        "timestamp": (*TIMES, None)[n % 7],
        "popularity_score": None if n % 6 == 0 else n / 1000,
        "namespace": (0, 4, -1)[n % 3],
        "snapshot": ("20261115", "", None)[n % 3],
        "facets": None if n % 4 == 0 else [f"k={NASTY[n % len(NASTY)]}", f"year={n % 3}", "open=true"],
    }
    for n in range(140)
]


@pytest.fixture(scope="module", params=[False, True], ids=["bare", "indexed"])
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LanceTable:
    made = lancedb.connect(tmp_path_factory.mktemp("filters")).create_table("t", pa.Table.from_pylist(ROWS))
    if request.param:
        for column in ("categories", "facets"):
            made.create_index(column, config=LabelList(), wait_timeout=timedelta(seconds=30))
        for column in ("timestamp", "popularity_score", "namespace"):
            made.create_index(column, config=BTree(), wait_timeout=timedelta(seconds=30))
        for column in ("wiki", "language"):
            made.create_index(column, config=Bitmap(), wait_timeout=timedelta(seconds=30))
    return made  # type: ignore[return-value]


def kept_by_lancedb(table: LanceTable, filters: Filters) -> list[str]:
    query = table.search().select(["id"]).limit(1_000)
    if condition := filters.condition():
        query = query.where(condition)
    return sorted((row["id"] for row in query.to_list()), key=int)


def kept_by_hand(filters: Filters) -> list[str]:
    shown = filters.shown()

    def keeps(row: dict[str, Any]) -> bool:
        day, language = (row["timestamp"] or "")[:10], row["language"] or ""
        codes = shown.get("language", [])
        return all(
            (
                all(row[name] in shown[name] for name in ("wiki", "snapshot", "namespace") if name in shown),
                not codes or any(language == code or language.startswith(f"{code}-") for code in codes),
                "category" not in shown or set(row["categories"] or ()) & set(shown["category"]),
                "since" not in shown or (day and day >= shown["since"]),
                "until" not in shown or (day and day <= shown["until"]),
                (row["popularity_score"] or -math.inf) >= shown.get("min_popularity", -math.inf),
                *(
                    set(row["facets"] or ()) & {f"{key}={value}" for value in values}
                    for key, values in shown.get("metadata", {}).items()
                ),
            )
        )

    return [row["id"] for row in ROWS if keeps(row)]


texts = st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
days = st.sampled_from(["2026-11-13", "2026-11-14", "2026-11-15", "2026-11-16", "2026-11-17"])
any_filters = st.fixed_dictionaries(
    {},
    optional={
        "wiki": st.lists(st.sampled_from(["awiki", "bwiki", "zwiki"]), max_size=2),
        "language": st.lists(st.sampled_from(["de", "pt", "pt-BR", "fr"]), max_size=2),
        "category": st.lists(texts, max_size=3),
        "since": days,
        "until": days,
        "min_popularity": st.floats(allow_nan=False, allow_infinity=False),
        "namespace": st.lists(st.sampled_from([0, 4, -1, 2**31 - 1]), max_size=2),
        "snapshot": st.lists(st.sampled_from(["20261115", "2026-11-15", "20250101"]), max_size=2),
        "metadata": st.dictionaries(st.sampled_from(["k", "year", "open", "o'p"]), st.lists(texts, max_size=2)),
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=any_filters)
def test_lancedb_keeps_what_a_person_would_keep(table: LanceTable, chosen: dict[str, Any]) -> None:
    if chosen.get("since", "") > chosen.get("until", "9"):
        with pytest.raises(UsageError, match="later than --until"):
            Filters(**chosen)
        return
    filters = Filters.of(chosen)
    assert kept_by_lancedb(table, filters) == kept_by_hand(filters)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts)
def test_no_text_gets_out_of_its_literal(table: LanceTable, text: str) -> None:
    """Neither more rows than those that have exactly this text, nor an error."""
    by_category = [row["id"] for row in ROWS if text in (row["categories"] or ())]
    by_field = [row["id"] for row in ROWS if f"k={text}" in (row["facets"] or ())]
    assert kept_by_lancedb(table, Filters(category=text)) == by_category
    assert kept_by_lancedb(table, Filters(metadata={"k": text})) == by_field
    assert kept_by_lancedb(table, Filters(metadata={text: "x"})) == [
        row["id"] for row in ROWS if f"{text}=x" in (row["facets"] or ())
    ]


def test_every_field_is_served_by_its_index(table: LanceTable) -> None:
    if not list(table.list_indices()):
        return
    for filters in (
        Filters(wiki="awiki"),
        Filters(language=["de", "fr"]),
        Filters(category=["x", "y"]),
        Filters(since="2026-11-15"),
        Filters(until="2026-11-15"),
        Filters(min_popularity=1e-05),
        Filters(namespace=0),
        Filters(metadata={"year": [1, 2], "open": True}),
    ):
        plan = table.search().where(filters.condition() or "").select(["id"]).explain_plan(verbose=True)
        assert "ScalarIndexQuery" in plan, (filters, plan)


@pytest.mark.parametrize(
    ("until", "kept"),
    [
        ("2026-11-14", ["2026-11-14T23:59:59Z"]),
        ("2026-11-15", [*TIMES[1:5]]),
        ("2026-11-15T00:00:00Z", [*TIMES[1:4]]),
        ("2026-11-15T12:00:00", [*TIMES[1:5]]),
        ("2026-11-15T13:00:00+01:00", [*TIMES[1:5]]),
        ("9999-12-31", [*TIMES[1:]]),
    ],
)
def test_until_keeps_all_of_its_day_or_second_and_no_page_without_a_date(
    table: LanceTable, until: str, kept: list[str]
) -> None:
    assert times_of(table, Filters(until=until)) == sorted(kept)


@pytest.mark.parametrize(
    ("since", "kept"),
    [
        ("2026-11-15", [*TIMES[2:]]),
        ("20261115", [*TIMES[2:]]),
        ("2026-11-15T00:00:00Z", [*TIMES[3:]]),
        ("2026-11-15T12:00:00Z", [*TIMES[4:]]),
        ("2026-11-15T12:00:00.5Z", [*TIMES[5:]]),
        ("2026-11-16T01:00:00+01:00", [*TIMES[5:]]),
    ],
)
def test_since_keeps_its_first_second(table: LanceTable, since: str, kept: list[str]) -> None:
    assert times_of(table, Filters(since=since)) == sorted(kept)


def times_of(table: LanceTable, filters: Filters) -> list[str]:
    times = {row["id"]: row["timestamp"] for row in ROWS}
    return sorted({times[found] for found in kept_by_lancedb(table, filters)})


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"wiki": "enwiki' OR 'a'='a"}, "--wiki .* not a wiki's name such as enwiki"),
        ({"wiki": ["enwiki", 3]}, "--wiki 3 is no text"),
        ({"wiki": {"a": 1}}, "--wiki: a value or a list of values, not dict"),
        ({"wiki": [["enwiki"]]}, "--wiki .* is no text"),
        ({"language": "d' --"}, "--language .* not a language's code such as de"),
        ({"category": ""}, "--category is empty"),
        ({"category": "a" * 1_001}, "--category has 1001 characters, at most 1000"),
        ({"category": ["a"] * 101}, "--category has 101 values, at most 100"),
        ({"category": "\udcff"}, "--category .* is no text in UTF-8"),
        ({"category": b"a"}, "--category b'a' is no text"),
        ({"since": "yesterday"}, "--since 'yesterday' is no date: give one as 2026-11-15"),
        ({"since": "2026-13-01"}, "is no date"),
        ({"since": "2026"}, "is no date"),
        ({"since": 2026}, "--since 2026 is no text"),
        ({"since": "0001-01-01T00:00:00+23:00"}, "is no date"),
        ({"until": "2026-11-15T25:00"}, "--until .* is no date"),
        ({"until": "' OR 1=1"}, "is no date"),
        ({"since": "2026-11-16", "until": "2026-11-15"}, "--since 2026-11-16 is later than --until 2026-11-15"),
        ({"min_popularity": math.nan}, "--min-popularity nan is not a number"),
        ({"min_popularity": math.inf}, "is not a number"),
        ({"min_popularity": 10**400}, "is not a number"),
        ({"min_popularity": "0 OR 1=1"}, "is not a number"),
        ({"min_popularity": True}, "is not a number"),
        ({"namespace": 1.5}, "--page-namespace 1.5 is not a namespace's number"),
        ({"namespace": [0, "1 OR 1=1"]}, "is not a namespace's number"),
        ({"namespace": 2**31}, "is not a namespace's number"),
        ({"namespace": [True]}, "is not a namespace's number"),
        ({"snapshot": "2026-11"}, "--snapshot '2026-11' is not a dump's date such as 20261115"),
        ({"snapshot": "٢٠٢٦١١١٥"}, "is not a dump's date"),
        ({"metadata": "year=2024"}, "--metadata: fields and their values, not str"),
        ({"metadata": {"year": None}}, "--metadata: a value or a list of values, not NoneType"),
        ({"metadata": {"year": [None]}}, "--metadata year=None: give a text, a number, true or false"),
        ({"metadata": {"year": math.nan}}, "--metadata year=nan: give a text"),
        ({"metadata": {"year": 10**5_000}}, "--metadata year=a int: give a text"),
        ({"metadata": {"": "x"}}, "--metadata is empty"),
        ({"metadata": {3: "x"}}, "--metadata 3 is no text"),
        ({"metadata": {"k": "v" * 300}}, "at most 199 characters"),
        ({"metadata": {"k": "\ud800"}}, "is no text in UTF-8"),
        ({"wikis": "enwiki"}, "there is no filter 'wikis': there are wiki, language, category"),
        ({"1=1; --": "x"}, "there is no filter '1=1; --'"),
    ],
)
def test_a_wrong_value_is_refused_in_words(chosen: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        Filters.of(chosen)
    assert len(str(refused.value)) < 300


def test_without_values_there_is_no_condition_and_nothing_to_show() -> None:
    for filters in (Filters(), Filters(wiki=[], metadata={"k": []})):
        assert (filters.condition(), filters.shown(), filters.columns(), bool(filters)) == (None, {}, (), False)


def test_what_was_asked_for_is_shown_as_it_is_used() -> None:
    filters = Filters(wiki="enwiki", since="20261115", min_popularity=1, snapshot=["2026-11-15"], metadata={"a": 3.0})
    assert filters.shown() == {
        "wiki": ["enwiki"],
        "since": "2026-11-15",
        "min_popularity": 1.0,
        "snapshot": ["20261115"],
        "metadata": {"a": [3.0]},
    }
    assert filters.columns() == ("wiki", "timestamp", "popularity_score", "snapshot", "facets")
    assert Filters.of(filters.shown()) == filters


def test_a_value_of_metadata_is_found_as_its_facet_is_written() -> None:
    """The same number in JSON, in Parquet and on a command line."""
    facets = facets_of('{"year": 2024, "score": 3.0, "open": true, "tags": ["a=b", "c"]}')
    assert facets == ["year=2024", "score=3", "open=true", "tags=a=b", "tags=c"]
    for metadata in ({"year": 2024.0}, {"year": "2024"}, {"score": 3}, {"open": True}, {"tags": "a=b"}):
        condition = Filters(metadata=metadata).condition() or ""
        assert any(f"['{facet}']" in condition for facet in facets)


def test_flags_of_one_key_are_alternatives_and_a_pair_needs_both_parts() -> None:
    assert metadata_of(["year=2024", "year=2025", "tag=a=b"]) == {"year": ["2024", "2025"], "tag": ["a=b"]}
    for pair in ("year", "=2024", "year=", ""):
        with pytest.raises(UsageError, match=r"--metadata .*: give a field of the documents and its value"):
            metadata_of([pair])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("no", {"nb", "nn", "no"}),
        ("pt_BR", {"pt-BR"}),
        ("PT-br", {"pt-BR"}),
        ("pt", {"pt", "pt-BR"}),
        ("de", {"dewiki says it", "dewikibooks does"}),
    ],
)
def test_a_language_is_asked_for_as_answers_show_it(tmp_path: Path, given: str, kept: set[str]) -> None:
    rows: list[dict[str, str | None]] = [
        {"id": code, "language": code, "wiki": "docs"} for code in ("nb", "nn", "no", "pt", "pt-BR", "np")
    ]
    rows += [{"id": "dewiki says it", "language": None, "wiki": "dewiki"}]
    rows += [{"id": "dewikibooks does", "language": "", "wiki": "dewikibooks"}]
    rows += [{"id": "other", "language": None, "wiki": "ndewiki"}, {"id": "notes", "language": "", "wiki": "dewil"}]
    table = lancedb.connect(str(tmp_path)).create_table("t", pa.Table.from_pylist(rows))
    found = table.search().where(Filters(language=given).condition() or "").select(["id"]).to_arrow()
    assert set(found["id"].to_pylist()) == kept
