"""Nearest chunks to a vector, whole: the vector leg alone, for who has no question."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.model_config import Metric
from sinks.reader import Reader
from sinks.rows import is_live
from sinks.search.answers import Hit
from sinks.search.asked import Asked
from sinks.search.hits import READ, completed, hit_of, similarity
from sinks.search.legs import nearest_rows
from sinks.search.state import look


def nearest(
    reader: Reader, vector: NDArray[np.float32], k: int, where: str | None = None, metric: Metric = "cosine"
) -> list[Hit]:
    """The `k` chunks nearest to `vector` by the model's metric, best first; fewer when there are fewer."""
    state = look(reader, words=False)
    columns = [name for name in READ if name in state.columns]
    asked = Asked(reader, state, where, k)
    rows = nearest_rows(asked, vector, metric, columns)
    if not all(is_live(row.get("n"), row.get("start")) for row in rows):
        rows = nearest_rows(asked.of_live_rows(), vector, metric, columns)
    return [
        hit_of(rank, completed(row), similarity(row["_distance"], metric)) for rank, row in enumerate(rows, start=1)
    ]
