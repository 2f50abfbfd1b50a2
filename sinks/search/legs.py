"""Legs: the ways to find candidates in the table, each a query of its own against LanceDB.

They read a chunk's id, and its language where that matters; the few rows that are shown are read at the end, and there
it is seen whether they are live: 100 candidates with their texts take three times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from lancedb import query as lance_query
from lancedb.table import LanceTable
from numpy.typing import NDArray

from pipeline.model_config import Metric
from sinks.indexes import TAIL_ROWS
from sinks.languages import ICU, PREFIX, STEMMERS
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

    Needs no condition against dead rows: null vectors are never found, and such a filter costs 5 to 10 times. Who
    shows the rows looks whether they are live, for somebody may have given a vector to one that is not.

    Of a filter's rows, those in the nearest partitions are enough when they are as many as are asked for. Only else all
    partitions are read: it takes two to three times as long to let LanceDB go on by itself.
    """
    rows = asked.reader.read(lambda lance: _rows(vector_query(lance, asked, vector, metric), columns))
    if asked.where and asked.state.vector_index and len(rows) < asked.limit:
        every = asked.reader.read(
            lambda lance: _rows(vector_query(lance, asked, vector, metric).maximum_nprobes(0), columns)
        )
        rows = every if len(every) > len(rows) else rows
    return rows


def vector_query(lance: LanceTable, asked: Asked, vector: NDArray[np.float32], metric: Metric) -> Any:
    """LanceDB's query of the vector leg."""
    query = lance.search(vector, vector_column_name="vector").distance_type(metric)
    if asked.state.vector_index:
        query = query.nprobes(asked.state.nprobes).refine_factor(asked.state.refine)
    return (query.where(asked.where, prefilter=True) if asked.where else query).limit(asked.limit)


def _rows(query: Any, columns: Sequence[str]) -> list[Row]:
    rows: list[Row] = query.select([*columns, "_distance"]).with_row_id(True).to_arrow().to_pylist()
    return rows


def text_leg(asked: Asked, question: str, pool: Executor) -> list[Candidate]:
    """The chunks with the question's words, best first: of every full-text column, for nobody knows its language.

    BM25 of different columns is compared as it is: its own scale per column did no better.
    """
    words = " ".join(question[:MAX_CHARACTERS].split()[:MAX_WORDS])
    asks = [pool.submit(asked.reader.read, partial(_matches, asked, words, column)) for column in asked.state.asked]
    found = [candidate for ask in asks for candidate in ask.result()]
    return sorted(found, key=lambda candidate: (-candidate.score, candidate.id))[: asked.limit]


def _matches(asked: Asked, words: str, column: str, lance: LanceTable) -> list[Candidate]:
    language = column.removeprefix(PREFIX)
    if language in STEMMERS:  # then all of the column is in this language
        asked = replace(asked, languages=False)
    if column == ICU and not asked.state.text[ICU]:
        rows = rows_with_pieces(asked, words, lance)
    else:
        query = words_query(lance, asked, words, column)
        rows = query.select([*asked.columns(), "_score"]).with_row_id(True).to_arrow().to_pylist()
    return [candidate_of(row, row["_score"], language if language in STEMMERS else None) for row in rows]


def words_query(lance: LanceTable, asked: Asked, words: str, column: str, fuzziness: int = 0) -> Any:
    """LanceDB's query of words in one column, with so many letters wrong.

    A few rows that the index lacks are read besides; when there are more, the index alone is asked: beside 50,000 of
    them a query takes 675 ms instead of 8.
    """
    search: Any = lance.search
    query = search(MatchQuery(words, column, fuzziness=fuzziness, prefix_length=min(1, fuzziness)), query_type="fts")
    if asked.unindexed.get(column, 0) > TAIL_ROWS:
        query = query.fast_search()
    return (query.where(asked.where, prefilter=True) if asked.where else query).limit(asked.limit)
