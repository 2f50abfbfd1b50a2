"""Tables in a temporary folder, and pages to write into them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lancedb.table import LanceTable

from pipeline.records import EmbeddedPage, Page, Source, Span
from sinks.fence import Fence
from sinks.rows import VectorRule
from sinks.storage import connect
from sinks.table import Table

DIMENSION = 8
RULE = VectorRule(DIMENSION)
FENCE = Fence(model="minilm-1", dimension=DIMENSION, vectors="vectors-id", pages=("pages-id",))


def new_table(folder: Path, fence: Fence = FENCE, rule: VectorRule = RULE) -> Table:
    return Table.create(connect(str(folder)), "wikipedia", fence, rule)


def takeover(folder: Path, fence: Fence = FENCE) -> Table:
    return Table.take_over(connect(str(folder)), "wikipedia", fence, RULE)


def embedded(
    key: str, offset: int, chunks: int, *, topic: str = "pages-id", partition: int = 0, dimension: int = DIMENSION
) -> EmbeddedPage:
    """A version of a page, whose every chunk's text and vector tell key, offset and number."""
    wiki, _, page_id = key.partition(":")
    windows = [f"{key}@{offset} chunk {number}. " for number in range(chunks)]
    ends = np.cumsum([len(window) for window in windows])
    spans = tuple(Span(n, int(end) - len(windows[n]), int(end)) for n, end in enumerate(ends))
    page = Page(wiki=wiki, page_id=page_id, title=key, text="".join(windows), categories=("a", "b"), revision=offset)
    vectors = np.stack([vector(offset, n, dimension) for n in range(chunks)]) if chunks else np.empty(0, "<f4")
    return EmbeddedPage(
        key=key,
        source=Source(topic, partition, offset),
        page=page,
        spans=spans,
        dimension=dimension,
        vectors=vectors.astype("<f4").tobytes(),
    )


def deletion(key: str, offset: int, *, topic: str = "pages-id", partition: int = 0) -> EmbeddedPage:
    return EmbeddedPage(key=key, source=Source(topic, partition, offset), page=None)


def vector(offset: int, number: int, dimension: int = DIMENSION) -> np.ndarray:
    """A unit vector that only this chunk of this version has."""
    made = np.random.default_rng([offset, number]).normal(size=dimension)
    return made / np.linalg.norm(made)


def contents(table: Table | LanceTable) -> dict[str, list[str]]:
    """Texts of the live rows of each page, by number; every row's vector must be its text's."""
    lance = table.lance if isinstance(table, Table) else table
    columns = ["id", "page", "n", "n_chunks", "text", "vector", "source", "revision"]
    rows = lance.search().select(columns).where("n >= 0").to_arrow().to_pylist()
    assert len({row["id"] for row in rows}) == len(rows), "an id is there twice"
    found: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: (row["page"], row["n"])):
        if row["text"] is None:
            assert row["vector"] is None
            continue
        assert np.allclose(row["vector"], vector(row["revision"], row["n"], len(row["vector"])), atol=1e-6)
        found.setdefault(row["page"], []).append(row["text"])
        assert row["n"] == len(found[row["page"]]) - 1, "a number is missing"
        assert row["n_chunks"] == sum(other["page"] == row["page"] and other["text"] is not None for other in rows)
    return found


def texts(page: EmbeddedPage) -> list[str]:
    assert page.page is not None
    return [page.page.text[span.start : span.end] for span in page.spans]
