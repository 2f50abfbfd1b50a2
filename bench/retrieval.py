"""Questions with known answers through the real search: how often, and how far in front, each mode has the right page.

`python -m bench.retrieval [SET…] [--table wikipedia] [--names 300] [--out bench-retrieval.json]`. A set is a folder in
BEIR's layout (`queries.jsonl`, `qrels/test.tsv`), or a file with `question` and `page_id` a line; without one it takes
the sets of this folder that the table has the wiki of. `--names` adds titles, aliases and misspelt names of the table's
own pages. The model and the table are chosen as for `sinks.search`.

Look at the margins: the hybrid's figures minus those of the better one of its two legs. `rrf` is plain reciprocal rank
fusion of the same two legs, for comparison.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from lancedb.table import LanceTable

from bench import names
from bench.question_sets import OWN, Question, QuestionSet, load
from bench.ranking import ndcg, recall, reciprocal_rank, reciprocal_rank_fusion
from pipeline.errors import CirrostreamError
from pipeline.settings import TableSettings
from sinks.reader import Reader
from sinks.search import Search, SearchOptions
from sinks.storage import quoted

MODES = ("vector", "text", "hybrid")
DEPTH = 100
"""Pages of each leg that plain rank fusion sees."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Means over the questions of a set."""

    recall_at_1: float
    recall_at_3: float
    recall_at_5: float
    recall_at_10: float
    mrr_at_10: float
    ndcg_at_10: float


@dataclass(frozen=True, slots=True)
class Scored:
    """One set."""

    name: str
    questions: int
    modes: dict[str, Figures]
    recall_margin: float
    """Recall@10 of the hybrid minus that of the better leg."""
    mrr_margin: float
    """The same of MRR@10."""
    missed: list[str]
    """Questions whose page is not among the hybrid's first ten."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sets", nargs="*", type=Path, metavar="SET")
    parser.add_argument("--table")
    parser.add_argument("--lance-uri")
    parser.add_argument("--wiki", default="", help="the wiki that a set's pages are of; default: the set's name")
    parser.add_argument("--questions", type=int, default=0, help="at most so many of a set, chosen by --seed; 0: all")
    parser.add_argument("--names", type=int, default=0, help="so many titles, aliases and misspelt names, too")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("bench-retrieval.json"))
    given = parser.parse_args()
    where: dict[str, Any] = {
        name: value for name in ("table", "lance_uri") if (value := getattr(given, name)) is not None
    }
    try:
        chosen = [some(load(place, given.wiki), given.questions, given.seed) for place in given.sets or _own(where)]
        if given.names:
            chosen += names.sets_of(Reader.open(TableSettings(**where)), given.names, given.seed)
        with Search.open(SearchOptions(**where)) as search:
            found = [scored(one, partial(ranking, search)) for one in chosen]
    except CirrostreamError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    given.out.write_text(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False) + "\n", "utf-8")
    show(found)
    return 0


def _own(where: dict[str, Any]) -> list[Path]:
    reader = Reader.open(TableSettings(**where))
    return [place for place in sorted(OWN.glob("*.jsonl")) if reader.read(partial(_pages_of, place.stem))]


def _pages_of(wiki: str, lance: LanceTable) -> int:
    return int(lance.count_rows(f"wiki = {quoted(wiki)}"))


def some(whole: QuestionSet, count: int, seed: int) -> QuestionSet:
    """As many questions of a set, always the same ones for a seed; 0: all of them."""
    if not 0 < count < len(whole.questions):
        return whole
    return QuestionSet(whole.name, random.Random(seed).sample(whole.questions, count))


def ranking(search: Search, question: str, mode: str) -> list[str]:
    """The pages that the search finds in a mode, best first."""
    depth = 10 if mode == "hybrid" else DEPTH
    return [hit.page for hit in search.answer(question, k=depth, mode=mode).hits]  # type: ignore[arg-type]


def scored(one: QuestionSet, ask: Callable[[str, str], Sequence[str]]) -> Scored:
    """Every mode's figures for a set; `ask` gives the pages for a question in a mode."""
    found: dict[str, list[Sequence[str]]] = {mode: [] for mode in (*MODES, "rrf")}
    for number, question in enumerate(one.questions, start=1):
        for mode in MODES:
            found[mode].append(ask(question.text, mode))
        found["rrf"].append(reciprocal_rank_fusion(found["vector"][-1], found["text"][-1]))
        if sys.stderr.isatty():
            print(f"\r{one.name}: {number} of {len(one.questions)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    modes = {mode: figures(one.questions, rankings) for mode, rankings in found.items()}
    legs = (modes["vector"], modes["text"])
    return Scored(
        name=one.name,
        questions=len(one.questions),
        modes=modes,
        recall_margin=modes["hybrid"].recall_at_10 - max(leg.recall_at_10 for leg in legs),
        mrr_margin=modes["hybrid"].mrr_at_10 - max(leg.mrr_at_10 for leg in legs),
        missed=[
            question.text
            for question, pages in zip(one.questions, found["hybrid"], strict=True)
            if not question.pages.intersection(pages[:10])
        ],
    )


def figures(questions: Sequence[Question], rankings: Sequence[Sequence[str]]) -> Figures:
    """Means over questions and the pages found for each."""
    asked = list(zip(questions, rankings, strict=True))

    def mean(of: Callable[[Question, Sequence[str]], float]) -> float:
        return fmean(of(question, pages) for question, pages in asked)

    def recall_at(k: int) -> float:
        return mean(lambda question, pages: recall(pages, question.pages, k))

    return Figures(
        recall_at_1=recall_at(1),
        recall_at_3=recall_at(3),
        recall_at_5=recall_at(5),
        recall_at_10=recall_at(10),
        mrr_at_10=mean(lambda question, pages: reciprocal_rank(pages, question.pages, 10)),
        ndcg_at_10=mean(lambda question, pages: ndcg(pages, question.grades, 10)),
    )


def show(found: Sequence[Scored]) -> None:
    """Prints a line a set and mode."""
    print(f"{'':18} {'':7} {'recall@1':>9} {'@3':>6} {'@5':>6} {'@10':>6} {'MRR@10':>7} {'nDCG@10':>8}")
    for one in found:
        for mode, of in one.modes.items():
            print(
                f"{one.name if mode == MODES[0] else '':18} {mode:7} {of.recall_at_1:9.3f} {of.recall_at_3:6.3f} "
                f"{of.recall_at_5:6.3f} {of.recall_at_10:6.3f} {of.mrr_at_10:7.3f} {of.ndcg_at_10:8.3f}"
            )
        print(
            f"{'':18} {one.questions} questions; hybrid to the better leg: recall@10 {one.recall_margin:+.3f}, "
            f"MRR@10 {one.mrr_margin:+.3f}"
        )


if __name__ == "__main__":
    sys.exit(main())
