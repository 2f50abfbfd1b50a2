"""The worth of each leg in each language of a table: the ranks that it gives to pages whose words are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.model_config import Metric
from sinks.measure.clock import Deadline
from sinks.measure.scores import TOP, rank_of, weights
from sinks.measured import LegWeights
from sinks.reader import Reader
from sinks.search.asked import Asked, unindexed_rows
from sinks.search.fusion import Candidate
from sinks.search.legs import text_leg, vector_leg
from sinks.search.made_questions import MadeQuestion, SampledPage, made_questions
from sinks.search.state import State

LANGUAGES = 12
"""Languages that are measured, those with the most sampled pages. Others get the means of these (`fusion.fuse`)."""
QUESTIONS = 100
"""A language. The standard error of an MRR is about .04 then."""
LEAST_QUESTIONS = 20
"""Fewer tell nothing."""

Leg = Callable[[str], Sequence[Candidate]]
"""Candidates for a question, best first."""


@dataclass(frozen=True, slots=True)
class Legs:
    """The two legs that are weighed, as they search on their own."""

    vector: Leg
    text: Leg

    @classmethod
    def of(
        cls,
        reader: Reader,
        state: State,
        encode: Callable[[str], NDArray[np.float32]],
        metric: Metric,
        pool: Executor,
    ) -> Legs:
        """The legs of a search over this table."""
        asked = Asked(reader, state, unindexed=unindexed_rows(reader))
        return cls(
            vector=lambda question: vector_leg(asked, encode(question), metric),
            text=lambda question: text_leg(asked, question, pool),
        )


def measured_weights(
    pages: Iterable[SampledPage], legs: Legs, *, seed: int, deadline: Deadline, questions: int = QUESTIONS
) -> dict[str, LegWeights]:
    """Language -> weights, for the languages with enough pages in the sample, as far as the time goes."""
    asked = made_questions(pages, "words", seed)
    found = {}
    for language in languages_of(asked):
        own = [question for question in asked if question.language == language][:questions]
        ranks = leg_ranks(own, legs, deadline)
        if len(ranks["vector"]) >= LEAST_QUESTIONS:
            found[language] = weights(ranks)
    return found


def languages_of(questions: Iterable[MadeQuestion]) -> list[str]:
    """The languages with enough questions, those with the most first."""
    counts = Counter(question.language for question in questions)
    return [language for language, count in counts.most_common(LANGUAGES) if count >= LEAST_QUESTIONS]


def leg_ranks(questions: Iterable[MadeQuestion], legs: Legs, deadline: Deadline) -> Mapping[str, Sequence[int]]:
    """Leg -> the rank that it gives to each question's page, 0: not among the first ten."""
    ranks: dict[str, list[int]] = {"vector": [], "text": []}
    for question in questions:
        if deadline.passed:
            break
        for name, leg in (("vector", legs.vector), ("text", legs.text)):
            pages = dict.fromkeys(candidate.page for candidate in leg(question.text))
            ranks[name].append(rank_of([page == question.page for page in list(pages)[:TOP]]))
    return ranks
