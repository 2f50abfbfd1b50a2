"""LanceDB's plans of a question's queries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from lancedb.query import LanceVectorQueryBuilder
from numpy.typing import NDArray

from pipeline.model_config import Metric
from sinks.search.asked import Asked
from sinks.search.legs import vector_query, words_query


def plans(asked: Asked, words: str, vector: NDArray[np.float32] | None, metric: Metric) -> dict[str, str]:
    """Column that is searched -> the plan of its query.

    Args:
        words: that were looked for; "": none were.
        vector: of shape (dimension,), whose neighbours were looked for.
    """
    queries: dict[str, Callable[[Any], Any]] = {}
    if vector is not None:
        queries["vector"] = lambda lance: vector_query(lance, asked, vector, metric)
    if words:
        queries |= {
            column: partial(words_query, asked=asked, words=words, column=column) for column in asked.state.asked
        }
    return {column: asked.reader.read(partial(_explained, query, asked)) for column, query in queries.items()}


def _explained(query: Callable[[Any], Any], asked: Asked, lance: Any) -> str:
    made = query(lance)
    score = "_distance" if isinstance(made, LanceVectorQueryBuilder) else "_score"  # without it LanceDB logs a warning
    return str(made.select([*asked.columns(), score]).explain_plan())
