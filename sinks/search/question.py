"""A question, checked. Pure."""

from __future__ import annotations

import math

from pipeline.errors import UsageError

MAX_K = 1_000
MAX_QUESTION = 10_000
"""Characters; models read some hundred words and ignore the rest."""


def checked_question(question: str) -> str:
    """The question without what no tokenizer takes.

    Raises:
        UsageError: it is empty or beyond all reason.
    """
    # A terminal that is not UTF-8 leaves lone surrogates in the arguments.
    clean = question.encode("utf-8", "replace").decode().strip()
    if not clean:
        raise UsageError("the question is empty")
    if len(clean) > MAX_QUESTION:
        raise UsageError(f"the question has {len(clean)} characters, at most {MAX_QUESTION} are allowed")
    return clean


def checked_k(k: int) -> int:
    """The number of hits to give.

    Raises:
        UsageError: it is below 1 or beyond `MAX_K`.
    """
    if not 1 <= k <= MAX_K:
        raise UsageError(f"k is {k}: 1 to {MAX_K} hits can be asked for")
    return k


def checked_deadline(milliseconds: float | None) -> None:
    """Raises UsageError when this is no time after which an answer can be late."""
    if milliseconds is not None and not 0 < milliseconds < math.inf:
        raise UsageError(f"deadline_ms is {milliseconds}: give milliseconds, more than 0, or None for no deadline")
