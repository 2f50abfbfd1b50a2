"""One pass over all live rows of the table, in batches: ids, versions, vectors.

Memory: 8 bytes a row for the ids, and one batch of 4,096 rows (6 MB at 384 dimensions).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sinks.reader import Reader
from sinks.upkeep import LIVE
from sinks.verify_letters import Letters
from sinks.verify_pages import NewestPages, key_hash
from sinks.verify_report import Check, Problems

BATCH_ROWS = 4_096

MAX_OFF_NORM = 1e-3
"""How far from 1 the norm of a normalised vector may be; rounding to half precision moves it by up to 5e-4."""


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
    letters: Letters
    dimension: int
    normalized: bool
    rows: int = 0
    unknown: set[str] = field(default_factory=set)
    """Pages with live rows that `pages` does not have; a repair must delete them."""
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
        for row in np.flatnonzero(~_bools(pc.equal(whole, batch["id"]))):
            self.bad_ids.add("not page#number", f"row {ids[row]} is number {batch['n'][row]} of {batch['page'][row]}")
        self._take_versions(batch)
        self._take_vectors(batch["vector"], ids)

    def checks(self) -> list[Check]:
        """What held, and what did not."""
        return [
            self.strangers.check("no extra rows", f"{self.rows:,} live rows, all of the newest versions in pages"),
            self.bad_ids.check("unique ids", f"{self.rows:,} ids"),
            self.bad_vectors.check("vectors", f"{self.norms.count:,} x {self.dimension}, finite, {self.norms}"),
        ]

    def _take_versions(self, batch: pa.RecordBatch) -> None:
        keys = batch["page"].to_pylist()
        places = self.pages.places(np.fromiter(map(key_hash, keys), np.int64, len(keys)))
        if not len(self.pages):
            for key in keys:
                self._take_stranger(key, -1, -1)
            return
        versions = np.asarray(batch["source"].fill_null(-1), np.int64)
        newest = self.pages.offsets[places] | (self.place << 48)
        wrong = (places < 0) | self.pages.deleted[places] | (versions != newest)
        for row in np.flatnonzero(wrong):
            self._take_stranger(keys[row], int(places[row]), int(versions[row]))

    def _take_stranger(self, key: str, place: int, version: int) -> None:
        if place < 0:
            self.unknown.add(key)
            self.strangers.add("of no page", f"{key} is not in pages")
            return
        partition, offset = int(self.pages.partitions[place]), int(self.pages.offsets[place])
        where = f"{key} (pages-{partition}@{offset})"
        if self.letters.has(key, partition, offset):
            return  # its newest version could not be processed; the one before stays until it can
        if self.pages.deleted[place]:
            self.strangers.add("of a deleted page", f"{where} is deleted")
        else:
            self.strangers.add("of another version", f"{where} has a row of version {version}")

    def _take_vectors(self, column: pa.FixedSizeListArray, ids: list[str]) -> None:
        there = _bools(column.is_valid())
        for row in np.flatnonzero(~there):
            self.bad_vectors.add("missing", f"{ids[row]} has no vector")
        vectors = np.asarray(column.drop_null().flatten(), np.float64).reshape(-1, self.dimension)
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        finite = np.isfinite(norms)
        self.norms.add(norms[finite])
        places = np.flatnonzero(there)
        for row in np.flatnonzero(~finite):
            self.bad_vectors.add("not finite", f"{ids[places[row]]} has a vector that is not finite")
        off = finite & (np.abs(norms - 1) > MAX_OFF_NORM if self.normalized else norms == 0)
        for row in np.flatnonzero(off):
            self.bad_vectors.add("wrong norm", f"{ids[places[row]]} has a vector of norm {norms[row]:.6f}")

    def _find_twins(self, reader: Reader) -> None:
        """Ids that are there twice. A hash that is there twice is only a suspicion: one more pass finds the ids."""
        hashes = self._hashes[: self.rows]
        hashes.sort()
        suspects = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
        if not suspects:
            return
        ids = (name for batch in batches(reader, ["id"]) for name in batch["id"].to_pylist() if hash(name) in suspects)
        for name, count in Counter(ids).items():
            if count > 1:
                self.bad_ids.add("twice", f"{name} is there {count} times")


def batches(reader: Reader, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """All live rows of the table, a batch at a time."""
    scan: Any = reader.read(lambda lance: lance.search().where(LIVE).select(columns).to_batches(batch_size=BATCH_ROWS))
    yield from scan


def _bools(array: pa.BooleanArray) -> NDArray[np.bool_]:
    return np.asarray(array.fill_null(False), np.bool_)
