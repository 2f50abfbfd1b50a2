"""Measurements of a table that searches go by: made by its writer's upkeep, kept in the fence's JSON. Pure."""

from __future__ import annotations

import msgspec


class LegWeights(msgspec.Struct, frozen=True, kw_only=True):
    """Weights of each leg's standard scores for rows in one language, 0 to 1."""

    vector: float = 1.0
    text: float = 1.0


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """The success of one mode of search at finding the page that a question was made from."""

    questions: int
    recall: float
    """Share of the questions with their page among the first ten."""
    ndcg: float
    """nDCG@10."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The measurements of one time."""

    at: str
    """ISO 8601, UTC."""
    rows: int
    """Live rows of the table then."""
    rules: str = ""
    """Of the questions and of the derived columns then: after a change of either the table is measured anew."""
    weights: dict[str, LegWeights] = {}
    """Language (`languages.language_of`) -> weights."""
    nprobes: int | None = None
    """Partitions of the vector index to read, and the factor of candidates whose exact distance is taken; None: there
    was no index."""
    refine: int | None = None
    recall: float | None = None
    """Recall@10 of the index with these two, against an exact search."""
    quality: dict[str, Quality] = {}
    """Mode of search, or kind of question (`title`, `sentence`, `typo`) within a mode as `hybrid/typo` -> quality."""
