"""Ordering the best hits anew by a model that reads question and text together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from concurrent.futures import TimeoutError as LateError
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import CirrostreamError
from sinks.search.answers import LegReport
from sinks.search.fusion import Fused

RERANKED = 50
"""Hits that are ordered anew, before the best `k` are taken."""


class Reranker(Protocol):
    """A model that reads question and text together."""

    def scores(self, question: str, texts: Sequence[str], late: float | None = None) -> NDArray[np.float32]:
        """The fitness of each text as an answer, of shape (len(texts),); more is better.

        Args:
            late: `time.perf_counter()` after which nobody waits for it.
        """


def reranked(
    pool: Executor,
    reranker: Reranker,
    question: str,
    best: Sequence[Fused],
    *,
    rows: Mapping[str, Mapping[str, Any]],
    late: float | None,
) -> tuple[list[Fused], LegReport]:
    """The hits in the reranker's order; as they were when it is late or fails, which the report says."""
    start = time.perf_counter()
    texts = [f"{rows[one.id]['title']}\n{rows[one.id]['text']}" for one in best]
    run = pool.submit(reranker.scores, question, texts, late)
    try:
        scores = run.result(None if late is None else max(0.0, late - start))
    except LateError:
        run.cancel()
        return list(best), LegReport(name="rerank", state="late", why="had not answered at the deadline")
    except CirrostreamError as error:
        state: Literal["late", "failed"] = "failed" if late is None or time.perf_counter() < late else "late"
        return list(best), LegReport(name="rerank", state=state, why=str(error))
    ordered = []
    for place in np.argsort(-scores, kind="stable"):
        one = best[int(place)]
        score = float(scores[place])
        ordered.append(Fused(one.id, one.page, score, {**one.legs, "rerank": score}, one.place, one.others))
    seconds = round(time.perf_counter() - start, 4)
    return ordered, LegReport(name="rerank", state="ran", seconds=seconds, candidates=len(texts))
