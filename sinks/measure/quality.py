"""Quality of each mode of search: the ranks of pages for questions that were made from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sinks.measure.clock import Deadline
from sinks.measure.scores import TOP, quality, rank_of
from sinks.measured import Quality
from sinks.names import folded
from sinks.search.answers import Hit, Mode
from sinks.search.made_questions import Kind, MadeQuestion, SampledPage, made_questions

MODES: tuple[Mode, ...] = ("hybrid", "vector", "text")
KINDS: tuple[Kind, ...] = ("title", "typo", "sentence")
QUESTIONS = 40
"""A kind. The standard error of a recall of .95 is .03 then, and of all three kinds together .02."""
LEAST_QUESTIONS = 10

Ask = Callable[[str, Mode], Sequence[Hit]]
"""The first ten pages for a question."""


def measured_quality(
    pages: Sequence[SampledPage],
    ask: Ask,
    *,
    seed: int,
    deadline: Deadline,
    modes: Sequence[Mode] = MODES,
    questions: int = QUESTIONS,
) -> dict[str, Quality]:
    """Mode, and `mode/kind` of question -> quality; without those for which there was no time or no question."""
    asked = {kind: made_questions(pages, kind, seed)[:questions] for kind in KINDS}
    ranks: dict[str, list[int]] = {}
    for turn in range(questions):  # all kinds and modes side by side: when the time is over each has its share
        for kind, own in asked.items():
            if turn < len(own) and not deadline.passed:
                for mode in modes:
                    rank = rank_of([is_right(own[turn], hit) for hit in ask(own[turn].text, mode)[:TOP]])
                    ranks.setdefault(mode, []).append(rank)
                    ranks.setdefault(f"{mode}/{kind}", []).append(rank)
    return _enough(ranks)


def _enough(ranks: Mapping[str, Sequence[int]]) -> dict[str, Quality]:
    return {name: quality(own) for name, own in sorted(ranks.items()) if len(own) >= LEAST_QUESTIONS}


def is_right(question: MadeQuestion, hit: Hit) -> bool:
    """True for the page that the question was made from, and for another with the same name or the same sentence."""
    if hit.page == question.page:
        return True
    if question.kind == "sentence":
        return question.text in hit.text
    return question.kind in ("title", "typo") and folded(hit.title) == folded(question.title)
