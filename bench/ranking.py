"""Measures of a ranking, as information retrieval has them, and reciprocal rank fusion to compare with. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

RRF_K = 60
"""As in Cormack, Clarke and Büttcher 2009."""


def recall(found: Sequence[str], wanted: AbstractSet[str], k: int) -> float:
    """Share of the wanted pages that are among the first `k`.

    >>> recall(["a", "b", "c"], {"b", "x"}, 2)
    0.5
    """
    return len(set(found[:k]) & wanted) / len(wanted)


def reciprocal_rank(found: Sequence[str], wanted: AbstractSet[str], k: int) -> float:
    """One over the rank of the first wanted page; 0 when none is among the first `k`.

    >>> reciprocal_rank(["a", "b", "c"], {"b", "c"}, 10), reciprocal_rank(["a", "b"], {"b"}, 1)
    (0.5, 0.0)
    """
    return next((1 / rank for rank, page in enumerate(found[:k], start=1) if page in wanted), 0.0)


def ndcg(found: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """Discounted gain of the first `k` over that of the best order there is (Järvelin and Kekäläinen 2002).

    >>> ndcg(["a", "b"], {"a": 1, "b": 1}, 10), round(ndcg(["x", "a"], {"a": 1}, 10), 3)
    (1.0, 0.631)
    """
    gained = _discounted([grades.get(page, 0) for page in found[:k]])
    best = _discounted(sorted(grades.values(), reverse=True)[:k])
    return gained / best if best else 0.0


def reciprocal_rank_fusion(*rankings: Sequence[str]) -> list[str]:
    """The pages of several rankings in one order, by the sum of 1 / (60 + rank) alone.

    >>> reciprocal_rank_fusion(["a", "b"], ["b", "c"])
    ['b', 'a', 'c']
    """
    scores: dict[str, float] = defaultdict(float)
    for ranking in rankings:
        for rank, page in enumerate(ranking, start=1):
            scores[page] += 1 / (RRF_K + rank)
    return sorted(scores, key=lambda page: -scores[page])


def _discounted(grades: Sequence[int]) -> float:
    return sum((2.0**grade - 1) / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1))
