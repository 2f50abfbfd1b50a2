"""A batch is bounded in the bytes that its rows will have, and a page that could never be written is a dead letter."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from pipeline.records import EmbeddedPage, Page, Source, Span, encode
from pipeline.settings import MIB
from sinks.intake import weight
from sinks.page_faults import rejection
from sinks.row_bytes import BYTES_PER_ROW, MAX_PAGE_BYTES, RowBytes
from sinks.rows import NewPage, VectorRule, page_rows
from tests.tables import DIMENSION, FENCE, RULE, deletion, embedded

DEFAULT_BATCH = 10_000


def with_chunks(chunks: int, *, dimension: int = DIMENSION, span: int = 10, **columns: object) -> EmbeddedPage:
    """A page whose every chunk is the beginning of its text."""
    given: dict[str, object] = {"wiki": "enwiki", "page_id": "1", "title": "t", "text": "x" * span} | columns
    vectors = np.zeros((chunks, dimension), np.float32)
    vectors[:, 0] = 1
    return EmbeddedPage(
        key="enwiki:1",
        source=Source("pages-id", 0, 1),
        page=Page(**given),  # type: ignore[arg-type]
        spans=tuple(Span(n, 0, span) for n in range(chunks)),
        dimension=dimension,
        vectors=vectors.tobytes(),
    )


@pytest.mark.parametrize(
    "page",
    [
        with_chunks(300),
        with_chunks(300, dimension=384, span=900),
        with_chunks(300, metadata="m" * 20_000),
        with_chunks(300, metadata="ß漢" * 5_000),
        with_chunks(300, metadata=json.dumps({"k" * 150: [f"{n:03}" for n in range(100)]})),
        with_chunks(1, aliases=tuple(f"{n} name " * 30 for n in range(30))),
        with_chunks(300, text="漢" * 2_000, span=2_000),
        with_chunks(300, categories=("a" * 30,) * 200, aliases=("Ω" * 10,) * 500),
    ],
)
def test_rows_take_what_was_told_before_they_were_made(page: EmbeddedPage) -> None:
    made = page_rows([NewPage(page, FENCE.version(page.source))], VectorRule(page.dimension)).nbytes
    assert RowBytes.of(page).total == pytest.approx(made, rel=0.25)


def test_a_small_message_of_many_large_rows_is_a_batch_of_its_own() -> None:
    page = with_chunks(100, metadata="m" * MIB)
    assert len(encode(page)) < 1.1 * MIB
    assert rejection(page, RULE) is None
    assert weight(page) > DEFAULT_BATCH


def test_what_every_row_repeats_counts_in_each_of_them() -> None:
    assert weight(with_chunks(1_000, metadata="m" * 10_000)) > 2 * 1_000
    assert weight(with_chunks(1_000, span=100_000)) > 20 * 1_000
    assert weight(with_chunks(1_000)) == 1_000
    assert weight(deletion("enwiki:1", 1)) == weight(embedded("enwiki:1", 1, 0)) == 1


@pytest.mark.parametrize(
    ("page", "repeated"),
    [
        (with_chunks(10_000, metadata="m" * 1_000_000), "10,000 MB of that"),
        (with_chunks(10_000, span=1_000_000), "0 MB of that"),
        (with_chunks(250, aliases=("name " * 50,) * 5_000), "318 MB of that"),
    ],
)
def test_a_page_that_could_never_be_written_is_refused_with_figures(page: EmbeddedPage, repeated: str) -> None:
    found = rejection(page, RULE)
    assert found is not None
    assert found.reason == "too_large"
    assert repeated in found.detail
    assert "134 MB are the most" in found.detail


def test_no_batch_within_the_limit_comes_near_arrows_two_gigabytes() -> None:
    assert DEFAULT_BATCH * BYTES_PER_ROW < MAX_PAGE_BYTES < (1 << 31) / 8
    largest = with_chunks(100, metadata="m" * (MAX_PAGE_BYTES // 100 - 1_000))
    assert rejection(largest, RULE) is None
    one_more = msgspec.structs.replace(largest, page=msgspec.structs.replace(largest.page, title="t" * 200_000))
    assert rejection(one_more, RULE) is not None
