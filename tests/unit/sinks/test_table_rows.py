"""What may become rows, and what must be a dead letter instead."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from pipeline.errors import Fatal
from pipeline.records import EmbeddedPage, Source, Span
from sinks.derived import FIELDS, RULES
from sinks.fence import MAX_OFFSET, Stamp, Version, decode_fence, encode_fence, new_stamp
from sinks.languages import TEXT_COLUMNS
from sinks.page_faults import rejection
from sinks.rows import MADE_BY, NewPage, VectorRule, fence_row, page_rows, table_schema
from tests.tables import DIMENSION, FENCE, RULE, deletion, embedded

GOOD = embedded("enwiki:1", 5, 3)


def with_vectors(change: dict[tuple[int, int], float], scale: float = 1.0) -> EmbeddedPage:
    vectors = np.frombuffer(GOOD.vectors, "<f4").reshape(3, DIMENSION).copy() * np.float32(scale)
    for place, value in change.items():
        vectors[place] = value
    return msgspec.structs.replace(GOOD, vectors=vectors.astype("<f4").tobytes())


def changed(**fields: object) -> EmbeddedPage:
    return msgspec.structs.replace(GOOD, **fields)


def page_with(**fields: object) -> EmbeddedPage:
    assert GOOD.page is not None
    return changed(page=msgspec.structs.replace(GOOD.page, **fields))


BAD = {
    "nan": (with_vectors({(1, 3): float("nan")}), "bad_vectors", "chunk 1 is not finite"),
    "infinite": (with_vectors({(2, 0): float("inf")}), "bad_vectors", "chunk 2 is not finite"),
    "huge": (with_vectors({(2, 0): 3e38}), "bad_vectors", "norm"),
    "too long": (with_vectors({}, 1.02), "bad_vectors", "promises 1"),
    "zero": (with_vectors({}, 0), "bad_vectors", "is zero"),
    "dimension": (embedded("enwiki:1", 5, 3, dimension=4), "bad_vectors", "dimension 4, the table has 8"),
    "numbers": (changed(spans=(Span(0, 0, 1), Span(0, 0, 1), Span(2, 0, 1))), "bad_chunks", "chunk 1 has number 0"),
    "span": (changed(spans=(Span(0, 0, 1), Span(1, 5, 4), Span(2, 0, 1))), "bad_chunks", "span 5..4"),
    "span end": (changed(spans=(Span(0, 0, 1), Span(1, 0, 10**6), Span(2, 0, 1))), "bad_chunks", "span 0..1000000"),
    "deleted": (changed(page=None), "bad_chunks", "a deletion with chunks"),
    "key": (changed(key="no-colon"), "bad_key", "not wiki:page_id"),
    "other key": (changed(key="enwiki:2"), "bad_key", "its page is enwiki:1"),
    "fence": (changed(key="#fence", page=None, spans=(), vectors=b""), "bad_key", "not wiki:page_id"),
    "offset": (changed(source=Source("pages-id", 0, MAX_OFFSET + 1)), "bad_key", "out of range"),
    "negative": (changed(source=Source("pages-id", 0, -1)), "bad_key", "out of range"),
    "revision": (page_with(revision=1 << 63), "bad_page", "64-bit"),
    "namespace": (page_with(namespace=1 << 31), "bad_page", "32-bit"),
    "time": (changed(embedded_at=1 << 60), "bad_page", "no time in milliseconds"),
    "negative time": (changed(embedded_at=-1), "bad_page", "no time in milliseconds"),
    "repeated": (
        page_with(metadata="x" * (50 * 1024 * 1024)),
        "too_large",
        "its 3 rows would take 157 MB, 157 MB of that",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_page_is_refused_with_its_reason(case: str) -> None:
    page, reason, error = BAD[case]
    found = rejection(page, RULE)
    assert found is not None
    assert found.reason == reason
    assert error in found.detail


@pytest.mark.parametrize("page", [GOOD, embedded("enwiki:1", 1, 0), deletion("enwiki:1", 1)])
def test_a_good_page_passes(page: EmbeddedPage) -> None:
    assert rejection(page, RULE) is None


def test_a_model_that_promises_no_norm_may_have_any_but_zero() -> None:
    assert rejection(with_vectors({}, 7.5), VectorRule(DIMENSION, normalized=False)) is None
    assert rejection(with_vectors({}, 0), VectorRule(DIMENSION, normalized=False)) is not None


def test_what_does_not_fit_into_half_precision_is_refused() -> None:
    assert rejection(with_vectors({}, 1e6), VectorRule(DIMENSION, "f16", normalized=False)) is not None


def test_rows_have_the_text_of_their_span_and_the_columns_of_their_page() -> None:
    rows = page_rows([NewPage(GOOD, Version(5), leftovers=(3, 7))], RULE).to_pylist()
    assert [row["id"] for row in rows] == [f"enwiki:1#{n}" for n in (0, 1, 2, 3, 7)]
    assert [row["text"] for row in rows][2:] == ["enwiki:1@5 chunk 2. ", None, None]
    assert {row["source"] for row in rows} == {5}
    assert rows[0]["title"] == "enwiki:1"
    assert rows[0]["categories"] == ["a", "b"]
    assert rows[3]["vector"] is None


def test_live_rows_have_what_searches_need_and_dead_ones_have_none_of_it() -> None:
    page = page_with(
        title="Größe", aliases=("GRÖSSE", "Groes"), language="de", metadata='{"rank": 3, "tags": ["x", "y"]}'
    )
    made = changed(page=page.page, device="cpu", dtype="float32", embedded_at=1_700_000_000_123)
    first, second, _, dead = page_rows([NewPage(made, Version(5), leftovers=(3,))], RULE).to_pylist()
    assert first["text_de"] == "Größe\nenwiki:1@5 chunk 0. "
    assert second["text_de"] == "Größe\nenwiki:1@5 chunk 1. "
    assert {first[name] for name in TEXT_COLUMNS if name != "text_de"} == {None}
    assert (first["name"], first["names"], second["name"], second["names"]) == ("grosse", "grosse\ngroes", None, None)
    assert first["facets"] == second["facets"] == ["rank=3", "tags=x", "tags=y"]
    assert first["derived"] == RULES
    assert (first["device"], first["dtype"]) == ("cpu", "float32")
    assert first["embedded_at"] == datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)
    assert {dead[field.name] for field in (*FIELDS, *MADE_BY)} == {None}


def test_rows_of_an_embedder_that_says_no_time_have_none() -> None:
    assert [row["embedded_at"] for row in page_rows([NewPage(GOOD, Version(5))], RULE).to_pylist()] == [None] * 3


def test_each_chunk_stands_in_the_column_of_its_script_and_language() -> None:
    text = "Words of English. " + "維基百科是多語言的百科全書" * 3
    half = len("Words of English. ")
    page = page_with(text=text, title="T", language="")
    made = changed(page=page.page, spans=(Span(0, 0, half), Span(1, half, len(text)), Span(2, 0, 5)))
    rows = page_rows([NewPage(made, Version(5))], RULE).to_pylist()
    there = [[name for name in TEXT_COLUMNS if row[name] is not None] for row in rows]
    assert there == [["text_en"], ["text_icu"], ["text_en"]], "the wiki tells the language where the page does not"


def test_a_fence_of_the_first_schema_is_read_and_a_newer_one_refused() -> None:
    first = '{"schema":1,"model":"m","dimension":8,"vectors":"v","pages":["p"],"offsets":{"0":5}}'
    assert decode_fence(first, "t").offsets == {0: 5}
    with pytest.raises(Fatal, match="written by a newer Cirrostream"):
        decode_fence(first.replace('"schema":1', '"schema":3'), "t")


def test_no_pages_make_no_rows() -> None:
    assert page_rows([], RULE).num_rows == 0


def test_the_fence_comes_back_from_its_row() -> None:
    fence = FENCE.moved({31: 7, 0: 2}).moved({31: 3})
    row = fence_row(fence, Stamp(5), Stamp(4), RULE)
    assert row.schema.equals(table_schema(RULE))
    (only,) = row.to_pylist()
    assert decode_fence(only["fence"], "t") == fence
    assert fence.offsets == {31: 7, 0: 2}
    assert decode_fence(encode_fence(fence), "t") == fence


def test_stamps_do_not_repeat() -> None:
    assert len({new_stamp() for _ in range(1000)}) == 1000


def test_versions_grow_with_the_topic_then_with_the_offset() -> None:
    fence = msgspec.structs.replace(FENCE, pages=("first", "second"))
    sources = [Source("first", 9, 0), Source("first", 0, MAX_OFFSET), Source("second", 3, 0), Source("second", 1, 1)]
    versions = [fence.version(source) for source in sources]
    assert versions == sorted(set(versions))
