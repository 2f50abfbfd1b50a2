"""A random sample of a table's rows, read by their place: no scan, whatever the table's size."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from lancedb.table import LanceTable
from numpy.typing import NDArray

from sinks.languages import language_of
from sinks.reader import Reader
from sinks.rows import is_live
from sinks.search.made_questions import SampledPage

ROWS = 4_000
"""Rows to look at, dead ones too. A language with one page in a hundred is among them some forty times."""
ROWS_AT_ONCE = 250
"""Texts may have a megabyte each where a page is one row."""
MAX_TEXT = 5_000
"""Characters kept of a text."""

_COLUMNS = ("page", "n", "start", "title", "text", "language", "wiki")


def sampled_pages(reader: Reader, seed: int, rows: int = ROWS) -> list[SampledPage]:
    """Pages of randomly chosen rows, each once; long pages are chosen more often, as they are found more often."""
    found: dict[str, SampledPage] = {}
    there = set(reader.read(lambda lance: lance.schema.names))
    for part in _parts(reader, seed, rows, [name for name in _COLUMNS if name in there]):
        for row in part.to_pylist():
            if is_live(row.get("n"), row.get("start")) and row.get("text") and row["page"] not in found:
                found[row["page"]] = SampledPage(
                    page=row["page"],
                    language=language_of(row.get("language"), row.get("wiki")),
                    title=row.get("title") or "",
                    text=row["text"][:MAX_TEXT],
                )
    # LanceDB gives the rows of a part in the table's order.
    return random.Random(seed).sample(list(found.values()), len(found))  # noqa: S311 - no secret


def sampled_vectors(reader: Reader, seed: int, rows: int) -> NDArray[np.float32]:
    """Vectors of randomly chosen rows, of shape (at most rows, dimension)."""
    kept = [vectors_of(part) for part in _parts(reader, seed, rows, ["vector"])]
    return np.concatenate(kept) if kept else np.empty((0, 0), np.float32)


def vectors_of(rows: pa.Table | pa.RecordBatch) -> NDArray[np.float32]:
    """The vectors of these rows in fp32, of shape (rows with one, dimension)."""
    column = rows["vector"]
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    there = column.drop_null()
    return np.asarray(there.flatten(), np.float32).reshape(len(there), column.type.list_size)


def _parts(reader: Reader, seed: int, rows: int, columns: Sequence[str]) -> Iterator[pa.Table]:
    count = reader.read(lambda lance: int(lance.count_rows()))
    chosen = np.random.default_rng(seed).permutation(count) if count <= rows else _places(seed, count, rows)
    for start in range(0, len(chosen), ROWS_AT_ONCE):
        yield reader.read(partial(_taken, chosen[start : start + ROWS_AT_ONCE].tolist(), list(columns)))


def _places(seed: int, count: int, rows: int) -> NDArray[np.int64]:
    """So many different places of `count`, in random order."""
    draw = np.random.default_rng(seed)
    found = np.unique(draw.integers(0, count, rows + rows // 4 + 10))
    return draw.permutation(found)[:rows]


def _taken(places: list[int], columns: list[str], lance: LanceTable) -> pa.Table:
    # A version with fewer rows may have come meanwhile: places past its end give no row.
    query: Any = lance.take_offsets(places)
    found: pa.Table = query.select(columns).to_arrow()
    return found
