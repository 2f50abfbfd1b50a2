"""Legs: the ways to find candidates in the table, each a query of its own against LanceDB.

They read a chunk's id, page and language alone, and the few rows that are shown are read at the end: 100 candidates
with their texts take three times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np
from lancedb import query as lance_query
from lancedb.table import LanceTable
from numpy.typing import NDArray

from pipeline.model_config import Metric
from sinks.indexes import TAIL_ROWS
from sinks.languages import ICU
from sinks.rows import LIVE, is_live
from sinks.search.asked import Asked, Row, candidate_of
from sinks.search.fusion import Candidate
from sinks.search.hits import similarity
from sinks.search.unindexed import rows_with_pieces

MAX_WORDS = 100
"""Words of a question that are looked for; its first ones. 10,000 characters of words took seconds."""

MAX_CHARACTERS = 1_000
"""And its first characters, for scripts without blanks have no words to count."""

MatchQuery: Any = lance_query.MatchQuery
"""With the defaults that its annotations leave out."""


def vector_leg(asked: Asked, vector: NDArray[np.float32], metric: Metric) -> list[Candidate]:
    """The chunks nearest to a vector of shape (dimension,), best first."""
    return [
        candidate_of(row, similarity(row["_distance"], metric))
        for row in nearest_rows(asked, vector, metric, asked.columns())
    ]


def nearest_rows(asked: Asked, vector: NDArray[np.float32], metric: Metric, columns: Sequence[str]) -> list[Row]:
    """Rows nearest to a vector, best first, with these columns and `_distance`; fewer when there are fewer.

    Needs no condition against dead rows: null vectors are never found, and such a filter costs 5 to 10 times. Only
    when somebody has given a vector to a row that is not live, it is asked once more with one.
    """
    rows = asked.reader.read(lambda lance: _rows(vector_query(lance, asked, vector, metric, asked.where), columns))
    if not all(is_live(row.get("n"), row.get("start")) for row in rows):
        only_live = f"{LIVE} AND ({asked.where})" if asked.where else LIVE
        rows = asked.reader.read(lambda lance: _rows(vector_query(lance, asked, vector, metric, only_live), columns))
    return rows


def vector_query(
    lance: LanceTable, asked: Asked, vector: NDArray[np.float32], metric: Metric, where: str | None
) -> Any:
    """LanceDB's query of the vector leg."""
    query = lance.search(vector, vector_column_name="vector").distance_type(metric)
    if asked.state.vector_index:
        query = query.nprobes(asked.state.nprobes).refine_factor(asked.state.refine)
        if where:  # go on reading partitions until there are enough: the filter may keep none of the nearest ones' rows
            query = query.maximum_nprobes(0)
    return (query.where(where, prefilter=True) if where else query).limit(asked.limit)


def _rows(query: Any, columns: Sequence[str]) -> list[Row]:
    rows: list[Row] = query.select([*columns, "_distance"]).with_row_id(True).to_arrow().to_pylist()
    return rows


def text_leg(asked: Asked, question: str, pool: Executor) -> list[Candidate]:
    """The chunks with the question's words, best first: of every full-text column, for nobody knows its language.

    BM25 of different columns is compared as it is: its own scale per column did no better.
    """
    words = " ".join(question[:MAX_CHARACTERS].split()[:MAX_WORDS])
    asks = [pool.submit(asked.reader.read, partial(_matches, asked, words, column)) for column in asked.state.asked]
    found = [
        candidate_of(row, row["_score"]) for ask in asks for row in ask.result() if is_live(row["n"], row["start"])
    ]
    return sorted(found, key=lambda candidate: (-candidate.score, candidate.id))[: asked.limit]


def _matches(asked: Asked, words: str, column: str, lance: LanceTable) -> list[Row]:
    if column == ICU and not asked.state.text[ICU]:
        return rows_with_pieces(asked, words, lance)
    query = words_query(lance, asked, words, column)
    rows: list[Row] = query.select([*asked.columns(), "_score"]).with_row_id(True).to_arrow().to_pylist()
    return rows


def words_query(lance: LanceTable, asked: Asked, words: str, column: str, fuzziness: int = 0) -> Any:
    """LanceDB's query of words in one column, with so many letters wrong.

    A few rows that the index lacks are read besides; when there are more, the index alone is asked: beside 50,000 of
    them a query takes 675 ms instead of 8. Asking which it is takes 0.4 ms.
    """
    search: Any = lance.search
    query = search(MatchQuery(words, column, fuzziness=fuzziness, prefix_length=min(1, fuzziness)), query_type="fts")
    unindexed = [index.num_unindexed_rows or 0 for index in lance.list_indices() if index.columns == [column]]
    if unindexed and unindexed[0] > TAIL_ROWS:
        query = query.fast_search()
    return (query.where(asked.where, prefilter=True) if asked.where else query).limit(asked.limit)
