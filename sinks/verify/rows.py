"""One pass over all rows of the table that are not dead, in batches: ids, versions, vectors.

Memory: 8 bytes a row for the ids, and one batch of 4,096 rows (6 MB at 384 dimensions).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lancedb.table import LanceTable
from numpy.typing import NDArray

from pipeline.records import valid_key
from sinks.fence import version_of
from sinks.reader import Reader
from sinks.rows import OF_PAGES, norms_of, vector_faults
from sinks.verify.pages import NewestPages, key_hash
from sinks.verify.report import Check, Problems

BATCH_ROWS = 4_096


@dataclass(slots=True)
class Norms:
    """Mean, deviation and bounds of numbers that come in batches (Welford's update, by batches)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared distances to the mean; a plain sum of squares would lose what a deviation of 1e-4 is made of."""
    low: float = float("inf")
    high: float = float("-inf")

    def add(self, values: NDArray[np.float64]) -> None:
        if not len(values):
            return
        count, mean = len(values), float(values.mean())
        delta, total = mean - self.mean, self.count + count
        self.squares += float(((values - mean) ** 2).sum()) + delta**2 * self.count * count / total
        self.mean += delta * count / total
        self.count = total
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    def __str__(self) -> str:
        if not self.count:
            return "no norms"
        deviation = (self.squares / self.count) ** 0.5
        return f"norms {self.mean:.6f} ± {deviation:.6f}, {self.low:.6f} to {self.high:.6f}"


@dataclass(slots=True)
class RowScan:
    """Takes the rows batch by batch, then tells what does not hold."""

    pages: NewestPages
    place: int
    """Of the current `pages` topic in the fence's list: the upper 16 bits of every current version."""
    accounted: NDArray[np.bool_]
    """For each of `pages`: its newest version is in the dead letters, and the one before stays until it is not."""
    dimension: int
    normalized: bool
    rows: int = 0
    faulty: set[bytes] = field(default_factory=set)
    """Keys of pages with a row that must not be as it is; a repair sends what `pages` has of them, or a null."""
    norms: Norms = field(default_factory=Norms)
    strangers: Problems = field(default_factory=Problems)
    bad_ids: Problems = field(default_factory=Problems)
    bad_vectors: Problems = field(default_factory=Problems)
    _hashes: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def run(self, reader: Reader, turned: Callable[[int], None] = lambda rows: None) -> None:
        """Reads the whole table."""
        self._hashes = np.empty(reader.live_rows(), np.int64)
        for batch in batches(reader, ["id", "page", "n", "source", "vector"]):
            self.take(batch)
            turned(self.rows)
        self._find_twins(reader)

    def take(self, batch: pa.RecordBatch) -> None:
        ids = batch["id"].to_pylist()
        end = self.rows + len(ids)
        if end > len(self._hashes):
            self._hashes = np.resize(self._hashes, 2 * end)
        self._hashes[self.rows : end] = np.fromiter(map(hash, ids), np.int64, len(ids))
        self.rows = end
        whole = pc.binary_join_element_wise(batch["page"], batch["n"].cast(pa.string()), "#")
        pages = batch["page"].to_pylist()
        for row in np.flatnonzero(~_bools(pc.equal(whole, batch["id"]))):
            self.bad_ids.add("not page#number", f"row {ids[row]} is number {batch['n'][row]} of {pages[row]}")
            self._mend(pages[row], _page_of(ids[row]))
        self._take_versions(batch, pages)
        self._take_vectors(batch["vector"], ids, pages)

    def checks(self) -> list[Check]:
        """The checks of the rows."""
        return [
            self.strangers.check("no extra rows", f"{self.rows:,} live rows, all of the newest versions in pages"),
            self.bad_ids.check("unique ids", f"{self.rows:,} ids"),
            self.bad_vectors.check("vectors", f"{self.norms.count:,} x {self.dimension}, finite, {self.norms}"),
        ]

    def _take_versions(self, batch: pa.RecordBatch, pages: list[str | None]) -> None:
        places = self.pages.places(np.fromiter((key_hash(key or "") for key in pages), np.int64, len(pages)))
        if not len(self.pages):
            for key in pages:
                self._take_stranger(key, -1, -1)
            return
        versions = np.asarray(batch["source"].fill_null(-1), np.int64)
        newest = self.pages.offsets[places] | version_of(self.place, 0)
        wrong = (places < 0) | self.pages.deleted[places] | (versions != newest)
        for row in np.flatnonzero(wrong):
            self._take_stranger(pages[row], int(places[row]), int(versions[row]))

    def _take_stranger(self, key: str | None, place: int, version: int) -> None:
        if place < 0:
            lost = "" if self._mend(key) else ", nor a key that could be: remove it by hand (docs/runbook.md)"
            self.strangers.add("of no page", f"{key} is not in pages{lost}")
            return
        if self.accounted[place]:
            return
        where = f"{key} (pages-{self.pages.partitions[place]}@{self.pages.offsets[place]})"
        self._mend(key)
        if self.pages.deleted[place]:
            self.strangers.add("of a deleted page", f"{where} is deleted")
        else:
            self.strangers.add("of another version", f"{where} has a row of version {version}")

    def _take_vectors(self, column: pa.FixedSizeListArray, ids: list[str | None], pages: list[str | None]) -> None:
        there = _bools(column.is_valid())
        for row in np.flatnonzero(~there):
            self.bad_vectors.add("missing", f"{ids[row]} has no vector")
            self._mend(pages[row])
        places = np.flatnonzero(there)
        norms = norms_of(np.asarray(column.drop_null().flatten()).reshape(-1, self.dimension))
        self.norms.add(norms[np.isfinite(norms)])
        for fault in vector_faults(norms, normalized=self.normalized):
            row = places[fault.row]
            self.bad_vectors.add(fault.kind, f"the vector of {ids[row]} {fault.what}")
            self._mend(pages[row])

    def _mend(self, *keys: str | None) -> bool:
        """Marks these pages for the repair; says whether there was one that it can reach."""
        reached = [key.encode() for key in keys if key is not None and valid_key(key)]
        self.faulty.update(reached)
        return bool(reached)

    def _find_twins(self, reader: Reader) -> None:
        """Ids that are there twice. A hash that is there twice is only a suspicion: one more pass finds the ids."""
        hashes = self._hashes[: self.rows]
        hashes.sort()
        suspects = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
        if not suspects:
            return
        found: dict[str, list[str | None]] = {}
        for batch in batches(reader, ["id", "page"]):
            for name, page in zip(batch["id"].to_pylist(), batch["page"].to_pylist(), strict=True):
                if hash(name) in suspects:
                    found.setdefault(str(name), []).append(page)
        for name, pages in found.items():
            if len(pages) > 1:
                self.bad_ids.add("twice", f"{name} is there {len(pages)} times")
                self._mend(*pages, _page_of(name))


def batches(reader: Reader, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """All rows of the table but fence and dead rows, a batch at a time.

    A row is dead that has neither span nor vector; what has either could be found or counted. The dead are left out
    here and not by Lance: a filter that asks for null vectors makes the scan take twice as long.
    """

    def query(lance: LanceTable) -> Iterator[pa.RecordBatch]:
        scan: Any = lance.search().where(OF_PAGES).select([*columns, "start"]).to_batches(batch_size=BATCH_ROWS)
        return iter(scan)

    for batch in reader.stream(query):
        alive = batch["start"].is_valid()
        if "vector" in columns:
            alive = pc.or_(alive, batch["vector"].is_valid())
        yield batch if alive.true_count == len(batch) else batch.filter(alive)


def _page_of(row_id: str | None) -> str | None:
    """The page that a row's id names."""
    return row_id.rpartition("#")[0] if row_id is not None else None


def _bools(array: pa.BooleanArray) -> NDArray[np.bool_]:
    return np.asarray(array.fill_null(False), np.bool_)
