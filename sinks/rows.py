"""Rows: the table's columns, and an EmbeddedPage as rows. Pure.

Three kinds share one schema. A live row is a chunk: it has a text and a vector. A dead row stands for a chunk that its
page's newest version lacks: text and vector are null, which hides it from every search, and its `source` remembers the
version that took it away. The fence row has `n = -1`.

The conditions below are the one rule for which is which, in counts, scans, searches and upkeep. They go by `n` and
`start`, which cost little to read: to count 200,000 rows by `start` takes 6 ms, by `text` 550 ms. That text, span and
vector of a row are there together, or none of them, is what `sinks.verify` proves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.model_config import Metric
from pipeline.records import EmbeddedPage
from sinks import derived
from sinks.fence import FENCE_ID, Fence, Stamp, VectorType, Version, encode_fence

FENCE_ROW = f"id = '{FENCE_ID}'"
LIVE = "n >= 0 AND start IS NOT NULL"
DEAD = "n >= 0 AND start IS NULL"
LEFTOVER = "n > 0 AND start IS NULL"
"""Dead rows that may go: their page has row 0, live or dead, which remembers the same version."""

STALE = f"{LIVE} AND (derived IS NULL OR derived < {derived.RULES})"
"""Live rows whose derived columns are to be made, as a condition."""

OF_PAGES = "n >= 0 OR n IS NULL"
"""All rows of pages, damaged or not, for who proves them: every row but the fence's."""


def is_live(n: int | None, start: int | None) -> bool:
    """`LIVE`, of a row that was read."""
    return n is not None and n >= 0 and start is not None


MAX_OFF_NORM = 5e-3
"""How far from 1 the norm of a normalised vector may be, for who writes it and who proves it: half precision rounds a
component by up to 5e-4 of itself, bfloat16 by 4e-3."""


@dataclass(frozen=True, slots=True)
class VectorRule:
    """The common traits of a table's vectors: dimension, type, whether their norm is 1, and metric."""

    dimension: int
    vector_type: VectorType = "f32"
    normalized: bool = True
    metric: Metric = "cosine"
    """How the model compares vectors."""

    @property
    def numpy(self) -> np.dtype[np.floating]:
        return np.dtype("<f4" if self.vector_type == "f32" else "<f2")

    @property
    def arrow(self) -> pa.DataType:
        return pa.list_(pa.float32() if self.vector_type == "f32" else pa.float16(), self.dimension)


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A page in a table: its newest version, and the number of every row, live or dead."""

    version: Version
    numbers: frozenset[int]
    damaged: bool = False
    """Two rows have the same number, or one has another id than its page and number: a merge would leave them both."""


def stored_pages(rows: pa.Table) -> dict[str, StoredPage]:
    """The pages of rows with the columns `page`, `id`, `n` and `source`."""
    whole = pc.binary_join_element_wise(rows["page"], rows["n"].cast(pa.string()), "#")
    sound = pc.and_(pc.equal(whole, rows["id"]).fill_null(False), rows["source"].is_valid())
    damaged = set(rows["page"].filter(pc.invert(sound)).to_pylist())
    versions: dict[str, int] = {}
    numbers: dict[str, list[int]] = {}
    columns = (rows["page"], rows["n"].fill_null(-1), rows["source"].fill_null(-1))
    for page, number, version in zip(*(column.to_pylist() for column in columns), strict=True):
        numbers.setdefault(page, []).append(number)
        if version > versions.get(page, -1):
            versions[page] = version
    found = {page: frozenset(own) for page, own in numbers.items()}
    return {
        page: StoredPage(Version(versions.get(page, -1)), own, page in damaged or len(own) < len(numbers[page]))
        for page, own in found.items()
    }


@dataclass(frozen=True, slots=True)
class NewPage:
    """A page to be written, with its version and the chunk numbers that the table has and it lacks."""

    page: EmbeddedPage
    version: Version
    leftovers: tuple[int, ...] = ()

    @property
    def dead(self) -> tuple[int, ...]:
        """Numbers of its dead rows: a page without live rows keeps dead row 0, which remembers its version."""
        if self.page.spans or 0 in self.leftovers:
            return self.leftovers
        return (0, *self.leftovers)


def against(page: EmbeddedPage, version: Version, stored: StoredPage | None, overruled: bool) -> NewPage | None:
    """The page with the chunks that it makes dead, or None when the table has this version or a newer one."""
    if stored is not None and stored.version >= version and not overruled:
        return None
    if stored is None or stored.damaged:
        return NewPage(page, version)
    return NewPage(page, version, tuple(sorted(stored.numbers - set(range(len(page.spans))))))


MADE_BY = (
    pa.field("device", pa.string()),
    pa.field("dtype", pa.string()),
    pa.field("embedded_at", pa.timestamp("ms", "UTC")),
)
"""How a row's vector came about. Two runs over the same pages differ in these three columns, and in no other."""

_PAGE_COLUMNS = pa.schema(
    [
        ("page", pa.string()),
        ("source", pa.int64()),
        ("n_chunks", pa.int32()),
        ("partition", pa.int32()),
        ("wiki", pa.string()),
        ("page_id", pa.string()),
        ("title", pa.string()),
        ("revision", pa.int64()),
        ("url", pa.string()),
        ("timestamp", pa.string()),
        ("categories", pa.list_(pa.string())),
        ("aliases", pa.list_(pa.string())),
        ("incoming_links", pa.int64()),
        ("popularity_score", pa.float64()),
        ("language", pa.string()),
        ("namespace", pa.int32()),
        ("snapshot", pa.string()),
        ("text_hash", pa.string()),
        ("metadata", pa.string()),
        *MADE_BY,
    ]
)
"""Equal in all rows of a page."""


def table_schema(rule: VectorRule) -> pa.Schema:
    """All columns of a table of such vectors."""
    own = [
        pa.field("id", pa.string()),
        pa.field("n", pa.int32()),
        pa.field("text", pa.string()),
        pa.field("start", pa.int32()),
        pa.field("end", pa.int32()),
        pa.field("vector", rule.arrow),
        pa.field("stamp", pa.int64()),
        pa.field("expected", pa.int64()),
        pa.field("fence", pa.string()),
    ]
    return pa.schema([*own, *_PAGE_COLUMNS, *derived.FIELDS])


@dataclass(frozen=True, slots=True)
class VectorFault:
    """A fault in a vector: its place, the kind it is counted under, and the end of the sentence."""

    row: int
    kind: str
    what: str


def norms_of(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """The norm of each row."""
    wide = vectors.astype(np.float64)  # the squares of float32 could overflow
    norms: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    return norms


def vector_faults(norms: NDArray[np.float64], *, normalized: bool) -> Iterator[VectorFault]:
    """The one rule for vectors as they are stored, told by their norms; the writer and the proof go by it."""
    finite = np.isfinite(norms)
    for row in np.flatnonzero(~finite):
        yield VectorFault(int(row), "not finite", "is not finite")
    for row in np.flatnonzero(finite & (norms == 0)):
        yield VectorFault(int(row), "zero", "is zero")
    if normalized:
        for row in np.flatnonzero(finite & (norms != 0) & (np.abs(norms - 1) > MAX_OFF_NORM)):
            yield VectorFault(int(row), "wrong norm", f"has norm {norms[row]:.6f}, the model promises 1")


def page_rows(pages: Sequence[NewPage], rule: VectorRule) -> pa.Table:
    """The live and dead rows of these pages, in the table's schema."""
    live = _live_rows([new for new in pages if new.page.spans], rule)
    return pa.concat_tables([live, _dead_rows(pages, table_schema(rule))])


def fence_row(fence: Fence, stamp: Stamp, expected: Stamp | None, rule: VectorRule) -> pa.Table:
    """The fence row that replaces the one with the stamp `expected`."""
    row = {
        "id": FENCE_ID,
        "page": FENCE_ID,
        "n": -1,
        "stamp": stamp,
        "expected": expected,
        "fence": encode_fence(fence),
    }
    return pa.Table.from_pylist([row], schema=table_schema(rule))


def _live_rows(pages: Sequence[NewPage], rule: VectorRule) -> pa.Table:
    per_page = pa.Table.from_pylist([_page_row(new) for new in pages], schema=_PAGE_COLUMNS)
    lengths = [len(new.page.spans) for new in pages]
    columns = per_page.take(pa.array(np.repeat(np.arange(len(pages)), lengths)))
    spans = [(new.page.key, span, new.page.page.text) for new in pages for span in new.page.spans if new.page.page]
    flat = [np.frombuffer(new.page.vectors, "<" + new.page.vector_type).astype(rule.numpy, copy=False) for new in pages]
    values = pa.array(np.concatenate(flat) if flat else np.empty(0, rule.numpy))
    own = {
        "id": pa.array([f"{key}#{span.number}" for key, span, _ in spans], pa.string()),
        "n": pa.array([span.number for _, span, _ in spans], pa.int32()),
        "text": pa.array([text[span.start : span.end] for _, span, text in spans], pa.string()),
        "start": pa.array([span.start for _, span, _ in spans], pa.int32()),
        "end": pa.array([span.end for _, span, _ in spans], pa.int32()),
        "vector": pa.FixedSizeListArray.from_arrays(values, rule.dimension),
    }
    own |= {name: columns[name] for name in _PAGE_COLUMNS.names}
    own |= derived.derived_columns(pa.table({name: own[name] for name in derived.SOURCES}))
    return _completed(own, table_schema(rule), len(spans))


def _dead_rows(pages: Iterable[NewPage], schema: pa.Schema) -> pa.Table:
    dead = [(new, number) for new in pages for number in new.dead]
    own = {
        "id": pa.array([f"{new.page.key}#{number}" for new, number in dead], pa.string()),
        "page": pa.array([new.page.key for new, _ in dead], pa.string()),
        "n": pa.array([number for _, number in dead], pa.int32()),
        "n_chunks": pa.array([len(new.page.spans) for new, _ in dead], pa.int32()),
        "source": pa.array([new.version for new, _ in dead], pa.int64()),
        "partition": pa.array([new.page.source.partition for new, _ in dead], pa.int32()),
        "wiki": pa.array([new.page.key.partition(":")[0] for new, _ in dead], pa.string()),
        "page_id": pa.array([new.page.key.partition(":")[2] for new, _ in dead], pa.string()),
    }
    return _completed(own, schema, len(dead))


def _completed(columns: dict[str, pa.Array], schema: pa.Schema, rows: int) -> pa.Table:
    return pa.table([columns.get(f.name, pa.nulls(rows, f.type)) for f in schema], schema=schema)


def _page_row(new: NewPage) -> dict[str, object]:
    page = new.page.page
    assert page is not None  # noqa: S101 - only pages with chunks get here
    row: dict[str, object] = {name: getattr(page, name, None) for name in _PAGE_COLUMNS.names}
    row |= {"page": new.page.key, "source": new.version, "partition": new.page.source.partition}
    row["n_chunks"] = len(new.page.spans)
    row |= {field.name: getattr(new.page, field.name) for field in MADE_BY}
    return row
