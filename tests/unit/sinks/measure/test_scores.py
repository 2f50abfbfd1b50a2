"""Scores, weights and parameters of a measurement, on figures made by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest

from sinks.measure.clock import Deadline
from sinks.measure.recall import PARAMETERS, exact_distances, first_precise
from sinks.measure.scores import mrr, neighbours_found, quality, rank_of, weights
from sinks.measured import LegWeights

NO_END = Deadline.after(3600)


def test_the_rank_is_that_of_the_first_right_hit_among_ten() -> None:
    assert rank_of([False, True, True]) == 2
    assert rank_of([False] * 10 + [True]) == 0
    assert rank_of([]) == 0


def test_mrr_and_quality_count_what_was_not_found() -> None:
    ranks = [1, 2, 0, 4]
    assert mrr(ranks) == pytest.approx((1 + 0.5 + 0.25) / 4)
    found = quality(ranks)
    assert (found.questions, found.recall) == (4, 0.75)
    assert found.ndcg == pytest.approx((1 + 1 / math.log2(3) + 1 / math.log2(5)) / 4, abs=1e-4)
    assert quality([]).questions == 0


def test_a_leg_that_knows_nothing_is_muted_and_one_half_as_good_is_not() -> None:
    assert weights({"vector": [0] * 10, "text": [1] * 10}) == LegWeights(vector=0, text=1)
    assert weights({"vector": [2] * 10, "text": [1] * 10}) == LegWeights(vector=1, text=1)
    assert weights({"vector": [4] * 10, "text": [1] * 10}) == LegWeights(vector=0.25, text=1)
    assert weights({"vector": [1] * 10, "text": [0] * 10}) == LegWeights(vector=1, text=0)


def test_legs_that_both_find_nothing_keep_their_weights() -> None:
    assert weights({"vector": [0], "text": [0]}) == LegWeights()


def test_equal_distances_are_as_good_as_the_same_rows() -> None:
    assert neighbours_found([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]) == 1
    assert neighbours_found([0.1, 0.5, 0.6], [0.1, 0.2, 0.3]) == pytest.approx(1 / 3)
    assert neighbours_found([0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0]) == 1
    assert neighbours_found([], []) == 1


def parts(vectors: np.ndarray) -> Iterator[np.ndarray]:
    yield from np.array_split(vectors, 7)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_the_exact_search_finds_what_a_full_comparison_finds(metric: str) -> None:
    draw = np.random.default_rng(3)
    stored, sample = draw.standard_normal((500, 16), np.float32), draw.standard_normal((4, 16), np.float32)
    found = exact_distances(parts(stored), sample, metric, NO_END)  # type: ignore[arg-type]
    full = {
        "cosine": 1 - (sample @ stored.T) / np.outer(np.linalg.norm(sample, axis=1), np.linalg.norm(stored, axis=1)),
        "dot": 1 - sample @ stored.T,
        "l2": ((sample[:, None, :] - stored[None, :, :]) ** 2).sum(axis=2),
    }[metric]
    assert found is not None
    assert found == pytest.approx(np.sort(full, axis=1)[:, :11], rel=1e-3, abs=1e-4)


def test_an_exact_search_without_time_gives_nothing_instead_of_something_wrong() -> None:
    over = Deadline.after(0)
    assert exact_distances(parts(np.ones((50, 4), np.float32)), np.ones((1, 4), np.float32), "dot", over) is None


def tried(share_of: dict[int, float]) -> tuple[object, list[tuple[int, int]]]:
    """Climbs with an index that finds this share of the neighbours with so many probes."""
    sample, exact, asked = np.zeros((100, 4), np.float32), np.tile(np.arange(11, dtype=np.float32), (100, 1)), []

    def search(vector: np.ndarray, nprobes: int, refine: int) -> list[float]:
        asked.append((nprobes, refine))
        kept = round(10 * share_of.get(nprobes, 1.0))
        return [0.0, *range(1, kept + 1), *itertools.repeat(99.0, 10 - kept)]

    return first_precise(sample, exact, search, NO_END), list(dict.fromkeys(asked))


def test_the_cheapest_settings_that_reach_the_target_are_taken() -> None:
    found, asked = tried({10: 0.7, 20: 0.9})
    assert (found.nprobes, found.recall) == (50, 1.0)  # type: ignore[attr-defined]
    assert asked == list(PARAMETERS[: asked.index((50, 1)) + 1])


def test_where_none_reaches_it_the_best_settings_are_taken() -> None:
    found, asked = tried({nprobes: 0.5 if nprobes != 100 else 0.8 for nprobes, _ in PARAMETERS})
    assert (found.nprobes, found.recall) == (100, 0.8)  # type: ignore[attr-defined]
    assert asked == list(PARAMETERS)


def test_a_search_for_parameters_without_time_gives_no_figure_of_a_few_vectors() -> None:
    sample, exact = np.zeros((100, 4), np.float32), np.zeros((100, 11), np.float32)
    assert first_precise(sample, exact, lambda *_: [0.0] * 11, Deadline.after(0)) is None
