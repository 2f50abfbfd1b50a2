"""Fusion: one order out of the legs' scores. Pure.

Reciprocal rank fusion drowns the better leg wherever the other one knows nothing (recall .476 instead of .984 in
Arabic). Scores say how sure a leg is: each leg's are standardised over its own candidates, those below its mean count
as nothing, and the rest is added, each leg weighted by what it is worth in the candidate's language, as measured on
the table itself (`measured.LegWeights`). So nobody has to guess the language of a question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sinks.measured import LegWeights

LIKE = 0.75
"""Likeness of two names, 0 to 1, from which on one may be a misspelt form of the other."""
NAME_SCORE = 12.0
"""Score of a name that is the question: more than the best of both other legs ever give together (about 10)."""

Leg = Literal["vector", "text", "names"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that one leg has found."""

    id: str
    page: str
    language: str
    score: float
    """The leg's own: similarity, BM25, or likeness of names."""


@dataclass(slots=True)
class Fused:
    """A page or a chunk with its score, in which leg has which part."""

    id: str
    """Of the chunk; of a page its best one's."""
    page: str
    score: float
    legs: dict[str, float]
    others: tuple[Fused, ...] = ()
    """A page's next best chunks, best first."""


def fuse(
    legs: Mapping[Leg, Sequence[Candidate]], weights: Mapping[str, LegWeights], *, by_page: bool = True
) -> list[Fused]:
    """Pages, or chunks, best first; ties in the order of their ids.

    Args:
        legs: each leg's candidates.
        weights: language -> the weights of legs there; a language that was not measured has the means of the others.
    """
    chunks: dict[str, Fused] = {}
    usual = _usual(weights)
    for leg, candidates in legs.items():
        for candidate, part in zip(candidates, _standard(leg, candidates), strict=True):
            weight = 1.0 if leg == "names" else getattr(weights.get(candidate.language, usual), leg)
            chunk = chunks.setdefault(candidate.id, Fused(candidate.id, candidate.page, 0.0, {}))
            chunk.legs[leg] = part * weight
            chunk.score += part * weight
    ordered = sorted(chunks.values(), key=lambda chunk: (-chunk.score, chunk.id))
    return _pages(ordered) if by_page else ordered


def alone(leg: Leg, candidates: Iterable[Candidate], *, by_page: bool = True) -> list[Fused]:
    """Pages, or chunks, by one leg's own scores."""
    chunks = [Fused(one.id, one.page, one.score, {leg: one.score}) for one in candidates]
    chunks.sort(key=lambda chunk: (-chunk.score, chunk.id))
    if not by_page:
        return chunks
    pages: dict[str, Fused] = {}
    for chunk in chunks:
        first = pages.setdefault(chunk.page, chunk)
        if first is not chunk:
            first.others = (*first.others, chunk)
    return list(pages.values())


def _usual(weights: Mapping[str, LegWeights]) -> LegWeights:
    if not weights:
        return LegWeights()
    known = weights.values()
    return LegWeights(
        vector=sum(one.vector for one in known) / len(known), text=sum(one.text for one in known) / len(known)
    )


def _standard(leg: Leg, candidates: Sequence[Candidate]) -> list[float]:
    """Each candidate's part of the score, before weights."""
    if leg == "names":
        return [NAME_SCORE * max(0.0, candidate.score - LIKE) / (1 - LIKE) for candidate in candidates]
    scores = np.array([candidate.score for candidate in candidates], np.float64)
    best: dict[str, float] = {}
    for candidate in candidates:
        best[candidate.page] = max(best.get(candidate.page, -np.inf), candidate.score)
    pages = np.fromiter(best.values(), np.float64)
    if not len(pages):
        return []
    spread = float(pages.std())
    if spread < 1e-9:  # a single page, or all alike: each is as good as a clear hit
        return [1.0] * len(candidates)
    found: list[float] = np.maximum(0.0, (scores - pages.mean()) / spread).tolist()
    return found


def _pages(chunks: Iterable[Fused]) -> list[Fused]:
    """Each page once: the sum over legs of what its best chunk has there, for two legs may like two of its chunks."""
    by_page: dict[str, list[Fused]] = {}
    for chunk in chunks:
        by_page.setdefault(chunk.page, []).append(chunk)
    pages = []
    for page, own in by_page.items():
        legs: dict[str, float] = {}
        for chunk in own:
            for leg, part in chunk.legs.items():
                legs[leg] = max(legs.get(leg, 0.0), part)
        pages.append(Fused(own[0].id, page, sum(legs.values()), legs, tuple(own[1:])))
    return sorted(pages, key=lambda page: (-page.score, page.id))
