"""Fusion: one order out of the legs' scores. Pure.

Reciprocal rank fusion drowns the better leg wherever the other one knows nothing (recall .476 instead of .984 in
Arabic). Scores say how sure a leg is: each leg's are standardised over its own candidates, those below its mean count
as nothing, a little is added for the first ranks, and the rest is added, each leg weighted by what it is worth in the
candidate's language, as measured on the table itself (`measured.LegWeights`). So nobody has to guess the language of a
question.

Those measurements cannot tell how a question is worded. The words themselves do: where they are the page's own, the
best page stands far out among the candidates (about 6 standard deviations above their mean in five languages), and
where they are others, chance hits lead by about 3. By that the words' leg counts for less, beside a vector leg.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sinks.measured import LegWeights

LIKE = 0.75
"""Likeness of two names, 0 to 1, from which on one may be a misspelt form of the other."""
NAME_SCORE = 14.0
"""Score of a name that is the question: more than the best of both other legs ever give together (about 12)."""

FIRST_RANKS = 2.0
"""Of a page at rank r of a leg, on top of its standard score, FIRST_RANKS / (1 + r): 1 for the first, .18 for the
tenth. Without it MRR@10 of questions in other words was .777 instead of .797 (`bench.retrieval`)."""
STANDS_OUT = 5.0
"""Standard score of the words' best page from which on they count in full; at half of it and below, `LEAST_WORDS`.
4.5 and 5.5 gave the same within .015."""
REACHABLE = 0.9
"""Of n pages none can be more than sqrt(n - 1) above the mean: with few, this share of that is as good."""
LEAST_WORDS = 0.4
"""Share of the words' leg that is left where nothing stands out. .3 and .5 gave the same within .015."""

ALIKE = 1e-9
"""Spread of scores below which they are all the same."""

Leg = Literal["vector", "text", "names"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that one leg has found."""

    id: str
    page: str
    language: str
    score: float
    """The leg's own: similarity, BM25, or likeness of names."""
    place: int = -1
    """LanceDB's row id, in the version that the leg has read; -1: not known."""


@dataclass(slots=True)
class Fused:
    """A page or a chunk with its score, in which leg has which part."""

    id: str
    """Of the chunk; of a page its best one's."""
    page: str
    score: float
    legs: dict[str, float]
    place: int = -1
    """The chunk's `Candidate.place`."""
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
        share = _evidence(candidates) if leg == "text" and legs.get("vector") else 1.0
        for candidate, part in zip(candidates, _standard(leg, candidates), strict=True):
            weight = 1.0 if leg == "names" else share * getattr(weights.get(candidate.language, usual), leg)
            chunk = chunks.setdefault(candidate.id, Fused(candidate.id, candidate.page, 0.0, {}, candidate.place))
            chunk.legs[leg] = part * weight
            chunk.score += part * weight
    ordered = sorted(chunks.values(), key=lambda chunk: (-chunk.score, chunk.id))
    return _pages(ordered) if by_page else ordered


def alone(leg: Leg, candidates: Iterable[Candidate], *, by_page: bool = True) -> list[Fused]:
    """Pages, or chunks, by one leg's own scores."""
    chunks = [Fused(one.id, one.page, one.score, {leg: one.score}, one.place) for one in candidates]
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
    best = _best(candidates)
    if not best:
        return []
    pages = np.fromiter(best.values(), np.float64)
    spread = float(pages.std())
    if spread < ALIKE:  # a single page, or all alike: each is as good as a clear hit
        return [1.0] * len(candidates)
    ahead = {page: FIRST_RANKS / (1 + rank) for rank, page in enumerate(sorted(best, key=lambda page: -best[page]), 1)}
    mean = float(pages.mean())
    return [max(0.0, (one.score - mean) / spread) + ahead[one.page] for one in candidates]


def _evidence(candidates: Sequence[Candidate]) -> float:
    """Share of its weight that the words' leg has by this question: how far its best page stands out."""
    pages = np.fromiter(_best(candidates).values(), np.float64)
    if len(pages) < 2 or (spread := float(pages.std())) < ALIKE:
        return 1.0
    full = min(STANDS_OUT, REACHABLE * math.sqrt(len(pages) - 1))
    reached = (float(pages.max() - pages.mean()) / spread - full / 2) / (full / 2)
    return min(1.0, max(LEAST_WORDS, reached))


def _best(candidates: Iterable[Candidate]) -> dict[str, float]:
    """Page -> score of its best chunk."""
    best: dict[str, float] = {}
    for candidate in candidates:
        best[candidate.page] = max(best.get(candidate.page, -math.inf), candidate.score)
    return best


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
        pages.append(Fused(own[0].id, page, sum(legs.values()), legs, own[0].place, tuple(own[1:])))
    return sorted(pages, key=lambda page: (-page.score, page.id))
