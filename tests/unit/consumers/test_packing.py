"""Packing: every sequence in exactly one batch, no batch over its budget, little padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.packing import ElasticBudget, TokenBudget, pack, pad

LENGTHS = st.lists(st.integers(1, 600), max_size=200).map(lambda lengths: np.asarray(lengths, dtype=np.int64))
BUDGETS = st.builds(TokenBudget, st.integers(1, 4_000), st.integers(1, 64))


@given(LENGTHS, BUDGETS)
def test_every_sequence_is_in_exactly_one_group(lengths: np.ndarray, budget: TokenBudget) -> None:
    groups = pack(lengths, budget)
    assert sorted(np.concatenate(groups).tolist() if groups else []) == list(range(len(lengths)))


@given(LENGTHS, BUDGETS)
def test_no_group_exceeds_the_budget_unless_it_is_one_sequence(lengths: np.ndarray, budget: TokenBudget) -> None:
    for group in pack(lengths, budget):
        assert len(group) <= budget.rows
        assert len(group) == 1 or int(lengths[group].max()) * len(group) <= budget.tokens


@given(LENGTHS, BUDGETS)
def test_the_longest_come_first(lengths: np.ndarray, budget: TokenBudget) -> None:
    longest = [int(lengths[group].max()) for group in pack(lengths, budget)]
    assert longest == sorted(longest, reverse=True)


def test_mixed_lengths_waste_little_padding() -> None:
    lengths = np.random.default_rng(1).integers(8, 256, 1_000)
    padded = sum(int(lengths[group].max()) * len(group) for group in pack(lengths, TokenBudget(4_096, 256)))
    assert lengths.sum() / padded > 0.95


def test_an_empty_batch_has_no_groups() -> None:
    assert pack(np.empty(0, dtype=np.int64), TokenBudget()) == []


def test_rows_are_filled_up_on_the_right_with_the_pad_id() -> None:
    padded, lengths = pad([np.asarray([5, 6, 7]), np.asarray([8])], pad_id=1)
    assert padded.tolist() == [[5, 6, 7], [8, 1, 1]]
    assert lengths.tolist() == [3, 1]


def test_a_budget_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        TokenBudget(tokens=0)


def test_after_a_failure_a_batch_is_half_of_what_failed() -> None:
    budget = ElasticBudget(TokenBudget(4_096, 256))
    budget.shrink(tokens=1_000, rows=10)
    assert budget.now == TokenBudget(500, 10)


def test_a_budget_comes_back_after_calm_and_never_exceeds_what_was_wanted() -> None:
    budget = ElasticBudget(TokenBudget(1_000, 10))
    budget.shrink(tokens=1_000, rows=10)
    for _ in range(ElasticBudget.CALM - 1):
        budget.succeeded(8)
    assert budget.now.tokens == 500
    for _ in range(3 * ElasticBudget.CALM):
        budget.succeeded(8)
    assert budget.now == budget.wanted


def test_a_budget_of_one_token_does_not_shrink_to_nothing() -> None:
    budget = ElasticBudget(TokenBudget(1, 1))
    budget.shrink(tokens=1, rows=1)
    assert budget.now == TokenBudget(1, 1)
