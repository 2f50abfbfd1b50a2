"""Recall of the vector index, against an exact search, and the cheapest settings that reach the target."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import msgspec
import numpy as np
import pyarrow as pa
from lancedb.table import LanceTable
from numpy.typing import NDArray

from pipeline.model_config import Metric
from sinks.measure.clock import Deadline
from sinks.measure.rules import TARGET_RECALL
from sinks.measure.sample import sampled_vectors, vectors_of
from sinks.measure.scores import TOP, neighbours_found
from sinks.reader import Reader
from sinks.search.asked import Asked
from sinks.search.legs import nearest_rows
from sinks.search.state import State

VECTORS = 200
LEAST_VECTORS = 30
SCAN_ROWS = 8_192
SCAN_SHARE = 0.7
"""Of the time, for the exact search."""

PARAMETERS = ((10, 1), (20, 1), (20, 2), (50, 1), (50, 2), (100, 2), (100, 5), (200, 5), (400, 10), (1_000, 10))
"""(nprobes, refine), the cheaper first. Searches take 100 candidates, so a refine factor of 1 compares 100 exactly."""

Search = Callable[[NDArray[np.float32], int, int], Sequence[float]]
"""Distances of what the index finds for a vector with these nprobes and refine, nearest first, the vector's own row
among them."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Settings of the index and the recall@10 that they reach."""

    nprobes: int
    refine: int
    recall: float
    vectors: int


def measured_recall(
    reader: Reader, state: State, metric: Metric, *, seed: int, deadline: Deadline, vectors: int = VECTORS
) -> Parameters | None:
    """The cheapest settings that reach `TARGET_RECALL` on a sample of the table's own vectors, else the best.

    None: there is no index, or no time for an exact search.
    """
    if not state.vector_index:
        return None
    sample = sampled_vectors(reader, seed, vectors)
    exact = exact_distances(scanned(reader), sample, metric, deadline.share(SCAN_SHARE))
    if exact is None or not len(sample):
        return None

    def search(vector: NDArray[np.float32], nprobes: int, refine: int) -> list[float]:
        measured = msgspec.structs.replace(state.measured, nprobes=nprobes, refine=refine)
        chosen = replace(state, measured=measured)
        return [row["_distance"] for row in nearest_rows(Asked(reader, chosen), vector, metric, [])]

    return first_precise(sample, exact, search, deadline)


def first_precise(
    sample: NDArray[np.float32], exact: NDArray[np.float32], search: Search, deadline: Deadline
) -> Parameters | None:
    """The first of `PARAMETERS` whose recall is above the target by its standard error; else the best one.

    Args:
        exact: distances of the nearest rows of each vector of the sample, its own row first.
    """
    best: Parameters | None = None
    for nprobes, refine in PARAMETERS:
        shares = []
        for vector, distances in zip(sample, exact, strict=True):
            if deadline.passed:
                break
            # Without the row that the vector is of: every index finds that one.
            shares.append(neighbours_found(search(vector, nprobes, refine)[1 : TOP + 1], distances[1:].tolist()))
        if len(shares) < min(LEAST_VECTORS, len(sample)):
            break
        mean = sum(shares) / len(shares)
        error = math.sqrt(sum((share - mean) ** 2 for share in shares)) / len(shares)
        if best is None or mean > best.recall:
            best = Parameters(nprobes, refine, round(mean, 4), len(shares))
        if mean - error >= TARGET_RECALL:
            return Parameters(nprobes, refine, round(mean, 4), len(shares))
    return best


def scanned(reader: Reader) -> Iterator[NDArray[np.float32]]:
    """All vectors of the table, some thousand at a time."""

    def query(lance: LanceTable) -> Iterable[pa.RecordBatch]:
        scan: Any = lance.search().select(["vector"]).to_batches(batch_size=SCAN_ROWS)
        return cast("Iterator[pa.RecordBatch]", iter(scan))

    return map(vectors_of, reader.stream(query))


def exact_distances(
    vectors: Iterable[NDArray[np.float32]], sample: NDArray[np.float32], metric: Metric, deadline: Deadline
) -> NDArray[np.float32] | None:
    """Distances of the nearest of `vectors` to each of the sample, `TOP` and the vector itself; None: no time.

    One pass for all of the sample: a search of LanceDB without its index reads the table once a vector. LanceDB's
    distances: 1 - cosine, 1 - dot product, the square of the euclidean.
    """
    wanted = TOP + 1
    queries = _unit(sample) if metric == "cosine" else sample
    squares = (queries**2).sum(axis=1)
    nearest: NDArray[np.float32] = np.full((len(queries), wanted), np.inf, np.float32)
    for part in vectors:
        if deadline.passed:
            return None
        if metric == "l2":
            found = squares[:, None] + (part**2).sum(axis=1)[None, :] - 2 * (queries @ part.T)
        else:
            found = 1 - queries @ (_unit(part) if metric == "cosine" else part).T
        both = np.concatenate([nearest, found], axis=1)
        nearest = np.partition(both, wanted - 1, axis=1)[:, :wanted].astype(np.float32)
    in_order: NDArray[np.float32] = np.sort(nearest, axis=1)
    return in_order


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), np.float32)
