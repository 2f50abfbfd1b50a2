"""Scores of rankings, and the weights that follow from them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from sinks.measured import LegWeights, Quality

TOP = 10
"""Hits that count, in every figure here: what a person looks at."""


def rank_of(relevant: Sequence[bool]) -> int:
    """Rank of the first relevant hit among the first ten; 0: there is none."""
    return next((rank for rank, is_right in enumerate(relevant[:TOP], start=1) if is_right), 0)


def mrr(ranks: Sequence[int]) -> float:
    """Mean of the reciprocal ranks; 0 where nothing was found."""
    return fmean(1 / rank if rank else 0.0 for rank in ranks) if ranks else 0.0


def quality(ranks: Sequence[int]) -> Quality:
    """Recall@10 and nDCG@10 of questions with one right page each: the discount is then all that is left of nDCG."""
    count = max(1, len(ranks))
    return Quality(
        questions=len(ranks),
        recall=round(sum(rank > 0 for rank in ranks) / count, 4),
        ndcg=round(sum(1 / math.log2(rank + 1) for rank in ranks if rank) / count, 4),
    )


def weights(ranks: Mapping[str, Sequence[int]]) -> LegWeights:
    """Weights of the legs from the ranks that each has given to the right pages of the same questions.

    min(1, (2 x MRR / the better leg's)^2): it mutes a leg that knows nothing of the language, and leaves alone one that
    is half as good, for made questions use the page's words and so favour the leg that goes by words. At most 0.005
    recall@10 and 0.01 MRR below the better leg, over nine languages of XQuAD's questions.
    """
    scores = {leg: mrr(found) for leg, found in ranks.items()}
    best = max(scores.values(), default=0.0)
    if not best:
        return LegWeights()
    return LegWeights(**{leg: round(min(1.0, (2 * score / best) ** 2), 4) for leg, score in scores.items()})


def neighbours_found(distances: Sequence[float], exact: Sequence[float]) -> float:
    """Share of the exact nearest neighbours that a search has found, by their distances.

    Not by their ids: of rows with equal vectors, such as the same text twice, either is right.
    """
    if not exact:
        return 1.0
    limit = exact[-1] + 1e-6 + 1e-5 * abs(exact[-1])
    return min(1.0, sum(distance <= limit for distance in distances) / len(exact))
