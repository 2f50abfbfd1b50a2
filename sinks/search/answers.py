"""Answers: everything that a search says, as `--json` prints it. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

Mode = Literal["hybrid", "vector", "text"]
By = Literal["page", "chunk"]
LegName = Literal["vector", "text", "names", "rerank"]


class LegReport(msgspec.Struct, frozen=True, kw_only=True):
    """The part that one leg had in an answer."""

    name: LegName
    state: Literal["ran", "late", "failed", "left out"]
    """`late`: it had not answered at the deadline; `left out`: it could not have added anything, `why` says so."""
    seconds: float = 0.0
    candidates: int = 0
    """Chunks that it found, before the legs were fused."""
    why: str = ""


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """Another chunk of a page that was found."""

    id: str
    n: int
    start: int
    end: int
    text: str
    score: float
    link: str = ""
    """The page's address, opened at this passage."""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A page with its best chunk, or a chunk."""

    rank: int
    score: float
    """More is better. In mode `vector`: how similar question and chunk are, their cosine, -1 to 1; for models that
    compare so, the dot product, or minus the distance. In the others: the sum of the legs' `legs`."""
    id: str
    page: str
    wiki: str
    title: str
    url: str
    text: str
    n: int
    n_chunks: int
    start: int
    end: int
    revision: int | None
    timestamp: str
    source: str = ""
    """Who published the page: the host of `url`, or the wiki's name."""
    licence: str = ""
    """Of the text; empty: not known."""
    licence_url: str = ""
    language: str = ""
    link: str = ""
    """The page's address, opened at this passage."""
    legs: dict[str, float] = {}
    """Leg -> this hit's part of the score that comes from it."""
    passages: list[Passage] = []
    """The page's next best chunks among those found, best first."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Hits, and how they were found."""

    question: str
    table: str
    model: str
    mode: Mode
    wiki: str = ""
    """The filter's wiki, where there is one of them; all filters are in `filters`."""
    k: int
    seconds: float
    """For question and search; the model's loading is not in it."""
    hits: list[Hit]
    by: By = "page"
    filters: dict[str, object] = {}
    legs: list[LegReport] = []
    notes: list[str] = []
    """Sentences on what this answer may lack: rows that words cannot find yet, a table that was not calibrated."""
    plan: dict[str, str] = {}
    """Leg -> LanceDB's plan of its query; with `explain` alone."""
