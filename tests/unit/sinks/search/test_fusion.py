"""Fusion: which leg decides, by weights, by evidence within the question, and by names."""

from __future__ import annotations

import pytest

from sinks.measured import LegWeights
from sinks.search.fusion import Candidate, fuse


def leg(scores: dict[str, float], language: str = "en") -> list[Candidate]:
    return [Candidate(f"w:{page}#0", f"w:{page}", language, score) for page, score in scores.items()]


def spread(first: str, lead: float, prefix: str) -> list[Candidate]:
    """Forty pages whose scores fall evenly, and one that leads them by `lead`."""
    return leg({first: 20 + lead, **{f"{prefix}{n}": 20 - n / 4 for n in range(40)}})


def first(*args: object, **chosen: object) -> str:
    return fuse(*args, **chosen)[0].page  # type: ignore[arg-type]


def test_words_that_stand_out_win_over_a_vector_leg_that_is_less_sure() -> None:
    legs = {"vector": spread("meant", 2, "v"), "text": spread("named", 30, "t")}
    assert first(legs, {}) == "w:named"


def test_chance_hits_of_words_lose_to_a_vector_leg_that_is_as_sure() -> None:
    legs = {"vector": spread("meant", 2, "v"), "text": spread("chance", 2.5, "t")}
    assert first(legs, {}) == "w:meant"


def test_without_a_vector_leg_the_words_are_left_as_they_are() -> None:
    alone = fuse({"text": spread("chance", 2, "t")}, {})[0]
    beside = next(
        one
        for one in fuse({"text": spread("chance", 2, "t"), "vector": spread("meant", 2, "v")}, {})
        if one.page == "w:chance"
    )
    assert beside.score < alone.score / 2


def test_few_pages_with_a_rare_word_are_evidence_enough() -> None:
    words = fuse({"text": leg({"a": 9.0, "b": 2.0, "c": 1.0}), "vector": leg({"x": 1.0})}, {})
    found = {one.page: one.score for one in words}
    assert found["w:a"] == pytest.approx(1 + 1.4, abs=0.05)  # in full: 1.4 standard deviations, and the first rank


def test_a_leg_that_knows_nothing_of_the_language_is_muted() -> None:
    legs = {"vector": leg({"wrong": 0.9, "w": 0.2, "u": 0.1}, "ar"), "text": leg({"right": 9, "r": 8.5, "s": 1}, "ar")}
    assert first(legs, {"ar": LegWeights(vector=0.01, text=1.0)}) == "w:right"


def test_a_page_is_counted_once_with_the_best_of_each_leg() -> None:
    vector = [Candidate("w:1#0", "w:1", "en", 0.9), Candidate("w:2#0", "w:2", "en", 0.1)]
    text = [Candidate("w:1#3", "w:1", "en", 7.0), Candidate("w:3#0", "w:3", "en", 1.0)]
    best = fuse({"vector": vector, "text": text}, {})[0]
    assert best.page == "w:1"
    assert set(best.legs) == {"vector", "text"}
    assert best.score == pytest.approx(sum(best.legs.values()))
    assert [one.id for one in best.others]


def test_a_name_comes_before_all_else() -> None:
    legs = {
        "vector": spread("meant", 30, "v"),
        "text": spread("worded", 30, "t"),
        "names": leg({"named": 1.0}),
    }
    assert first(legs, {}) == "w:named"


def test_no_candidates_are_no_pages() -> None:
    assert fuse({"vector": [], "text": []}, {}) == []
