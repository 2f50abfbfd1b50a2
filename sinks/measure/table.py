"""One measurement of a table: the index' recall, the weights of the legs, and how good the answers are with both."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from pipeline.errors import CirrostreamError, one_line
from pipeline.library_errors import LibraryError
from pipeline.model_config import Metric
from sinks.fence import Fence
from sinks.measure.clock import Deadline
from sinks.measure.legs import Legs, measured_weights
from sinks.measure.quality import MODES, measured_quality
from sinks.measure.recall import measured_recall
from sinks.measure.rules import RULES
from sinks.measure.sample import sampled_pages
from sinks.measured import Measured, Quality
from sinks.reader import Reader
from sinks.search.answers import Hit, Mode
from sinks.search.made_questions import SampledPage
from sinks.search.search import Search
from sinks.search.state import NPROBES, REFINE, look

RECALL_SHARE = 0.4
WEIGHTS_SHARE = 0.6
"""Of the time that is left then; the rest is for the quality."""

THREADS = 4


class Encoder(Protocol):
    """The model, for questions."""

    def encode(self, question: str) -> NDArray[np.float32]:
        """The question's vector."""


class _Remembering:
    """An encoder that keeps what it has encoded: each mode is asked the same questions."""

    def __init__(self, encoder: Encoder) -> None:
        self.encode = lru_cache(4_096)(encoder.encode)


@dataclass(frozen=True, slots=True)
class WithMeasurements(Reader):
    """A table whose fence says what was measured just now, so that it is searched by that."""

    measured: Measured

    def fence(self) -> Fence:
        return msgspec.structs.replace(Reader.fence(self), search=self.measured)


def measure(reader: Reader, encoder: Encoder | None, metric: Metric, *, seconds: float, seed: int = 0) -> Measured:
    """All measurements, as far as the time goes; what there was no time for is as it was, and no quality.

    When weights or quality cannot be measured, what was measured until then is kept, and a warning says why.

    Args:
        encoder: None: no model; then the weights are as they were, and the quality is that of mode `text`.
        seed: draws pages and questions; the same one gives the same questions as long as the rows are the same.

    Raises:
        Fatal, TryAgain: the table cannot be read.
    """
    deadline = Deadline.after(seconds)
    encoder = _Remembering(encoder) if encoder else None
    state, before = look(reader), reader.fence().search or Measured(at="", rows=0)
    found = Measured(
        at=datetime.now(UTC).isoformat(timespec="seconds"), rows=reader.live_rows(), rules=RULES, weights=before.weights
    )
    if state.vector_index:
        chosen = measured_recall(reader, state, metric, seed=seed, deadline=deadline.share(RECALL_SHARE))
        found = msgspec.structs.replace(
            found,
            nprobes=chosen.nprobes if chosen else before.nprobes or NPROBES,
            refine=chosen.refine if chosen else before.refine or REFINE,
            recall=chosen.recall if chosen else None,
        )
    try:
        pages = sampled_pages(reader, seed)
        if encoder:
            with ThreadPoolExecutor(THREADS, "measure") as pool:
                legs = Legs.of(reader, state, encoder.encode, metric, pool)
                weights = measured_weights(pages, legs, seed=seed, deadline=deadline.share(WEIGHTS_SHARE))
            found = msgspec.structs.replace(found, weights={**before.weights, **weights})
        searched = WithMeasurements(reader.lance, reader.name, found)
        quality = quality_of(searched, encoder, metric, pages, seed=seed, deadline=deadline)
    except (CirrostreamError, LibraryError, RuntimeError, OSError, MemoryError) as error:
        structlog.get_logger().warning("measure.in_part", error=one_line(error), meaning="the rest is as it was")
        return found
    return msgspec.structs.replace(found, quality=quality)


def quality_of(
    reader: Reader,
    encoder: Encoder | None,
    metric: Metric,
    pages: Sequence[SampledPage],
    *,
    seed: int,
    deadline: Deadline,
) -> dict[str, Quality]:
    """The quality of each mode, through the search that everybody uses."""
    with closing(Search(reader, encoder, reader.fence().model, metric)) as search:

        def ask(question: str, mode: Mode) -> Sequence[Hit]:
            return search.answer(question, mode=mode).hits

        modes: Sequence[Mode] = MODES if encoder else ("text",)
        return measured_quality(pages, ask, seed=seed, deadline=deadline, modes=modes)
