"""The search itself: a question to each leg, their candidates fused, the best rows read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.model_config import Metric
from pipeline.model_files import ModelFiles
from sinks.reader import Reader
from sinks.rows import is_live
from sinks.search.answers import Answer, By, Hit, LegReport, Mode
from sinks.search.asked import CANDIDATES, Asked, Row, unindexed_rows
from sinks.search.cross_encoder import CrossEncoderReranker, find_reranker
from sinks.search.encoder import QuestionEncoder
from sinks.search.explain import plans
from sinks.search.filters import Filters
from sinks.search.fusion import Candidate, Fused, Leg, alone, fuse
from sinks.search.hits import READ, completed, hit_of, passage_of
from sinks.search.legs import text_leg, vector_leg
from sinks.search.limits import condition_in, limits_of, useless_because
from sinks.search.names_leg import names_leg
from sinks.search.opening import SearchOptions, metric_of, model_of, notes_on, open_reader, options_of, prewarm
from sinks.search.pool import DaemonPool
from sinks.search.question import checked_deadline, checked_k, checked_question
from sinks.search.reranking import RERANKED, Reranker, reranked
from sinks.search.rows import rows_at, rows_of
from sinks.search.running import run_legs
from sinks.search.state import State, States
from sinks.search.titles import titles

THREADS = 8
"""For each leg: so many questions are asked at once. As many for the full-text columns of all of them."""

PASSAGES = 2
"""Of a page, besides its best one."""

LEGS: Mapping[Mode, tuple[Leg, ...]] = {
    "hybrid": ("vector", "text", "names"),
    "vector": ("vector",),
    "text": ("text", "names"),
}


Ran = tuple[Mapping[Leg, Sequence[Candidate]], list[LegReport]]
"""The candidates of each leg that answered, and a report of every leg."""


class Encoder(Protocol):
    """The model, as a search uses it."""

    def encode(self, question: str) -> NDArray[np.float32]:
        """The question's vector."""


class Search:
    """A table and the model that its vectors are of, ready to answer; for any number of threads.

    Make one with `open`, and close it, or use it in a `with`.
    """

    def __init__(
        self,
        reader: Reader,
        encoder: Encoder | None,
        tag: str,
        metric: Metric = "cosine",
        *,
        reranker: Reranker | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """`open` is the usual way.

        Args:
            encoder: None: no model; only words are looked for.
            tag: of the model, as the fence has it.
            notes: sentences that belong to every answer.
        """
        self.reader = reader
        self._encoder = encoder
        self._tag = tag
        self._metric: Metric = metric
        self._reranker = reranker
        self._notes = tuple(notes)
        # A pool each: a leg that hangs must not take the threads of the others.
        self._pools = {leg: DaemonPool(THREADS, f"search-{leg}") for leg in ("vector", "text", "names", "rerank")}
        self._columns = DaemonPool(THREADS, "search-column")
        self._states = States(reader, self._columns)

    @classmethod
    def open(cls, options: SearchOptions | None = None, *, meaning: bool = True, **chosen: Any) -> Self:
        """The table and its model.

        Args:
            options: settings; None: those of the environment.
            meaning: False loads no model: only mode `text` can be asked for.
            chosen: settings by name, such as `table="wikipedia"`, `lance_uri="data/lance"`, `model=…`, `device="cpu"`.
                Without `model` the table's own is taken.

        Raises:
            UsageError: there is no such table, its model is another one, or cannot be loaded; so for the reranker.
            TryAgain: the table is empty, or a model is not here and the hub cannot be reached.
        """
        options = options or options_of(chosen)
        reader = open_reader(options)
        files: ModelFiles | None = model_of(options, reader) if meaning else None
        reranker = find_reranker(options.rerank) if options.rerank else None
        fence = reader.fence()
        metric = files.metric if files else metric_of(options, fence)
        search = cls(reader, None, fence.model, metric, notes=notes_on(fence, files))
        prewarm(reader, search._columns)
        try:
            if files:
                search._encoder = QuestionEncoder.load(files, options.device)
            if reranker:
                search._reranker = CrossEncoderReranker.load(reranker, options.rerank, options.device)
        except BaseException:
            search.close()
            raise
        return search

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends its threads; a leg that is late is not waited for."""
        for pool in (*self._pools.values(), self._columns):
            pool.shutdown()

    def answer(
        self,
        question: str,
        *,
        k: int = 10,
        mode: Mode = "hybrid",
        filters: Filters | None = None,
        by: By = "page",
        deadline_ms: float | None = None,
        explain: bool = False,
    ) -> Answer:
        """The best pages, or chunks, for a question.

        Args:
            question: in any language of the table.
            k: hits, at most.
            mode: `hybrid`: meaning, words and names; `vector`: meaning; `text`: words and names.
            filters: pages that may be found.
            by: `page`: each page once, with its best passages; `chunk`: each chunk.
            deadline_ms: milliseconds after which legs that have not answered are left out, and said to be late.
            explain: with LanceDB's plans.

        Raises:
            UsageError: question, `k` or filters are none.
            Fatal, TryAgain: no leg could answer.
        """
        start = time.perf_counter()
        asked_for = checked_question(question)
        checked_k(k)
        checked_deadline(deadline_ms)
        if mode not in LEGS or by not in ("page", "chunk"):
            raise UsageError(f"mode {mode!r} or by {by!r} is unknown: hybrid, vector or text; page or chunk")
        if mode == "vector" and self._encoder is None:
            raise UsageError("this search was opened without its model: only mode text can be asked for")
        chosen = filters or Filters()
        state = self._states.now()
        where = condition_in(state, chosen, self.reader.name)
        asked = Asked(
            self.reader,
            state,
            where,
            max(CANDIDATES, k if by == "chunk" else 2 * k),
            languages=mode != "vector" and state.weighs_by_language,
            unindexed={} if mode == "vector" else unindexed_rows(self.reader),
        )
        late = None if deadline_ms is None else start + deadline_ms / 1000
        useless = {
            leg: why for leg in LEGS[mode] if (why := useless_because(leg, state, loaded=self._encoder is not None))
        }

        def run(asked: Asked) -> Ran:
            work = {leg: self._work(leg, asked, asked_for) for leg in LEGS[mode] if leg not in useless}
            return run_legs(self._pools, work, late)

        found, reports, best, rows = self._best(asked, run, mode, by, max(k, RERANKED) if self._reranker else k)
        reports += [LegReport(name=leg, state="left out", why=why) for leg, why in useless.items()]
        if self._reranker is not None and best:
            first, report = reranked(
                self._pools["rerank"], self._reranker, asked_for, best[:RERANKED], rows=rows, late=late
            )
            best = [*first, *best[RERANKED:]]
            reports.append(report)
        hits = [_hit(rank, page, rows) for rank, page in enumerate(best[:k], start=1)]
        return Answer(
            question=asked_for,
            table=self.reader.name,
            model=self._tag,
            mode=mode,
            wiki=_wiki(chosen),
            k=k,
            seconds=round(time.perf_counter() - start, 4),
            hits=hits,
            by=by,
            filters=chosen.shown(),
            legs=reports,
            notes=[*self._notes, *limits_of(state, mode, found, chosen)],
            plan=self._plans(asked, asked_for, found) if explain else {},
        )

    def similar(self, chunk: str, *, k: int = 10, filters: Filters | None = None, by: By = "page") -> Answer:
        """More like this: what is nearest to a chunk of the table, its own page left out.

        Args:
            chunk: `id` of a hit or a passage, such as `enwiki:12#3`.

        Raises:
            UsageError: the table has no such chunk.
        """
        start = time.perf_counter()
        checked_k(k)
        chosen = filters or Filters()
        row = rows_of(self.reader, [checked_question(chunk)], ["id", "page", "n_chunks", "vector"]).get(chunk)
        if row is None or row["vector"] is None:
            raise UsageError(
                f"table {self.reader.name} has no chunk {chunk!r}: give the id of a hit, such as enwiki:12#3"
            )
        state = self._states.now()
        where = condition_in(state, chosen, self.reader.name)
        # Its own page, which is left out, may be all that is near.
        asked = Asked(self.reader, state, where, max(CANDIDATES, 2 * k) + (row["n_chunks"] or 0))
        vector = np.array(row["vector"], np.float32)

        def run(asked: Asked) -> Ran:
            candidates = vector_leg(asked, vector, self._metric)
            others = [candidate for candidate in candidates if candidate.page != row["page"]]
            return {"vector": others}, [LegReport(name="vector", state="ran", candidates=len(candidates))]

        _, [report], best, rows = self._best(asked, run, "vector", by, k)
        seconds = round(time.perf_counter() - start, 4)
        return Answer(
            question=chunk,
            table=self.reader.name,
            model=self._tag,
            mode="vector",
            wiki=_wiki(chosen),
            k=k,
            seconds=seconds,
            hits=[_hit(rank, page, rows) for rank, page in enumerate(best, start=1)],
            by=by,
            filters=chosen.shown(),
            legs=[msgspec.structs.replace(report, seconds=seconds)],
        )

    def titles(self, typed: str, *, k: int = 10, filters: Filters | None = None) -> list[str]:
        """Titles that begin with what was typed so far, the most popular first; for a list under a search field.

        Raises:
            UsageError: nothing was typed, or `k` or filters are none.
        """
        state = self._states.now()
        where = condition_in(state, filters or Filters(), self.reader.name)
        return titles(self.reader, state, checked_question(typed), checked_k(k), where)

    def _work(self, leg: Leg, asked: Asked, question: str) -> Callable[[], list[Candidate]]:
        if leg == "text":
            return lambda: text_leg(asked, question, self._columns)
        if leg == "names":
            return lambda: names_leg(asked, question)
        return lambda: vector_leg(asked, self._vector(question), self._metric)

    def _plans(self, asked: Asked, question: str, found: Mapping[Leg, object]) -> dict[str, str]:
        vector = self._vector(question) if "vector" in found else None
        return plans(asked, question if "text" in found else "", vector, self._metric)

    def _vector(self, question: str) -> NDArray[np.float32]:
        if self._encoder is None:
            raise UsageError("this search was opened without its model: only words can be looked for")
        return self._encoder.encode(question)

    def _fused(self, found: Mapping[Leg, Sequence[Candidate]], state: State, mode: Mode, by: By) -> list[Fused]:
        if mode == "vector":
            return alone("vector", found.get("vector", ()), by_page=by == "page")
        return fuse(found, state.measured.weights, by_page=by == "page")

    def _best(
        self, asked: Asked, run: Callable[[Asked], Ran], mode: Mode, by: By, count: int
    ) -> tuple[Mapping[Leg, Sequence[Candidate]], list[LegReport], list[Fused], dict[str, Row]]:
        """The legs' findings and reports, and the first pages or chunks with their rows, by id.

        Somebody may have given a text or a vector to a row that is not live. The legs are asked once more then, with a
        condition against such rows, which makes every question several times as slow.
        """
        found, reports = run(asked)
        best = self._fused(found, asked.state, mode, by)[:count]
        columns = [name for name in READ if name in asked.state.columns]
        wanted = {one.id: one.place for page in best for one in (page, *page.others[:PASSAGES])}
        rows = {key: completed(row) for key, row in rows_at(self.reader, wanted, columns).items()}
        if not asked.only_live and not all(is_live(row["n"], row["start"]) for row in rows.values()):
            return self._best(asked.of_live_rows(), run, mode, by, count)
        # Those that have no row have gone meanwhile.
        return found, reports, [page for page in best if page.id in rows], rows


def _wiki(filters: Filters) -> str:
    return filters.wiki[0] if len(filters.wiki) == 1 else ""


def _hit(rank: int, page: Fused, rows: Mapping[str, dict[str, Any]]) -> Hit:
    others = tuple(passage_of(rows[one.id], one.score) for one in page.others[:PASSAGES] if one.id in rows)
    return hit_of(rank, rows[page.id], page.score, page.legs, others)
