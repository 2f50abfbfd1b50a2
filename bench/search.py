"""Latency of searches over a large table, without the model's time, with recall@10 measured in the same run.

`python -m bench.table --rows 1000000 --folder million` makes the table; `python -m bench.search --folder million` asks
it. Vectors stand in for the model: those of the table's own pages, a little moved. `--write 60` lets another process
write into the table meanwhile, with the sink's own upkeep. A copy of the table is what to give it then.

Look at the ratios first: filtered to unfiltered, beside a writer to alone. Milliseconds say as much of the machine; on
one that others use as well, look at those of processor time, of all threads together.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.corpus import CHUNKS, DIMENSION, Corpus
from pipeline.metrics import Metrics
from pipeline.settings import TableSettings
from sinks.fence import Fence
from sinks.measure.clock import Deadline
from sinks.measure.recall import measured_recall
from sinks.measure.table import WithMeasurements
from sinks.measured import Measured
from sinks.memory import bound_memory
from sinks.reader import Reader
from sinks.rows import VectorRule
from sinks.search import Filters, Search
from sinks.search.state import look
from sinks.storage import connect, quoted
from sinks.table import Table
from sinks.upkeep import Upkeep, UpkeepRules

Times = tuple[float, float]
"""Seconds of a question by the clock, and of processor time."""

NAME = "bench"
MOVED = 0.02
"""Noise on a stored vector, a component: the question's cosine to its own row is about .93."""
WARM = 30
"""Questions of each kind that are asked before the clock runs."""
MEASURE_SECONDS = 300.0
"""For the settings of the vector index."""
WRITTEN_ROWS = 2_000
"""In one batch of the writer beside the searches."""
FILTERED = {
    "wiki": Filters(wiki=("dewiki",)),
    "language": Filters(language=("en",)),
    "since": Filters(since="2025-06-01"),
    "category": Filters(category=("Category 1",)),
}


@dataclass(frozen=True, slots=True)
class Latency:
    """Of the questions of one kind; milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    worst_ms: float
    processor_ms: float
    """Of all threads together, the mean of the questions."""
    questions: int


@dataclass(frozen=True, slots=True)
class SearchFigures:
    """Findings of one run."""

    rows: int
    first_ms: float
    """The first question after the table was opened, the look at its state included."""
    nprobes: int
    refine: int
    """Of the vector index, measured as upkeep does; 0: there is no index."""
    recall_at_10: float
    kinds: dict[str, Latency]
    filtered_to_all: dict[str, float]
    """Medians of the hybrid with a filter over the one without."""
    filtered_to_all_processor: dict[str, float]
    """The same of processor time."""
    beside_writer: dict[str, Latency]
    written_rows: int


class StoredVectors:
    """An encoder that knows the vectors of its questions."""

    def __init__(self, known: Mapping[str, NDArray[np.float32]]) -> None:
        self._known = known

    def encode(self, question: str) -> NDArray[np.float32]:
        """The vector that belongs to this question."""
        return self._known[question]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="of a table that bench.table made")
    parser.add_argument("--questions", type=int, default=300, help="of each kind")
    parser.add_argument("--exact", type=int, default=30, help="questions whose exact answer is looked for, for recall")
    parser.add_argument("--write", type=float, default=0, metavar="SECONDS", help="writes meanwhile, into this table")
    parser.add_argument("--writer", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("bench-search.json"))
    given = parser.parse_args()
    if given.writer:
        return write(given.folder, given.write)
    report = measure(given.folder, given.questions, given.exact, given.write)
    given.out.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    show(report)
    return 0


def measure(folder: Path, count: int, exact: int, write_seconds: float) -> SearchFigures:
    """Asks the table of this folder."""
    reader = Reader.open(TableSettings(lance_uri=str(folder), table=NAME))
    rows = reader.live_rows()
    rung = measured_recall(reader, look(reader), "cosine", seed=0, deadline=Deadline.after(MEASURE_SECONDS))
    if rung:  # as the sink's upkeep does each night
        found = Measured(at="", rows=rows, nprobes=rung.nprobes, refine=rung.refine, recall=rung.recall)
        reader = WithMeasurements(reader.lance, reader.name, found)
    corpus = Corpus(pages=rows // CHUNKS)
    random = np.random.default_rng(11)
    numbers = random.choice(corpus.pages, size=min(count, corpus.pages), replace=False).tolist()
    known = {corpus.question(number): moved(corpus, number, random) for number in numbers}
    typed = [corpus.title(number)[: 3 + number % 5] for number in numbers]
    with Search(reader, StoredVectors(known), "bench") as search:
        started = time.perf_counter()
        search.answer(next(iter(known)))
        first = time.perf_counter() - started
        questions = list(known)
        ways = kinds(search)
        timed = {name: clock(ask, typed if name == "titles" else questions) for name, ask in ways.items()}
        recalled = recall(search, reader, dict(list(known.items())[:exact]))
        beside: dict[str, Latency] = {}
        written = 0
        if write_seconds:
            beside, written = beside_writer(folder, write_seconds, search, questions)
    return SearchFigures(
        rows=rows,
        first_ms=1000 * first,
        nprobes=rung.nprobes if rung else 0,
        refine=rung.refine if rung else 0,
        recall_at_10=recalled,
        kinds=timed,
        filtered_to_all={name: timed[f"hybrid, {name}"].p50_ms / timed["hybrid"].p50_ms for name in FILTERED},
        filtered_to_all_processor={
            name: timed[f"hybrid, {name}"].processor_ms / timed["hybrid"].processor_ms for name in FILTERED
        },
        beside_writer=beside,
        written_rows=written,
    )


def kinds(search: Search) -> dict[str, Callable[[str], object]]:
    """Kind of question -> how it is asked."""

    def filtered(filters: Filters) -> Callable[[str], object]:
        return lambda question: search.answer(question, filters=filters)

    return {
        "vector": lambda question: search.answer(question, mode="vector"),
        "text": lambda question: search.answer(question, mode="text"),
        "hybrid": search.answer,
        "titles": search.titles,
        **{f"hybrid, {name}": filtered(filters) for name, filters in FILTERED.items()},
    }


def clock(ask: Callable[[str], object], questions: Sequence[str]) -> Latency:
    """Asks all questions, one after the other, the first ones twice."""
    for question in questions[:WARM]:
        ask(question)
    return latency([_timed(ask, question) for question in questions])


def latency(times: Sequence[Times]) -> Latency:
    """Percentiles of the times of questions."""
    seconds, processor = np.asarray(times).T
    p50, p95, p99 = (float(part) for part in np.percentile(seconds * 1000, [50, 95, 99]))
    return Latency(
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        worst_ms=1000 * float(seconds.max()),
        processor_ms=1000 * float(processor.mean()),
        questions=len(times),
    )


def _timed(ask: Callable[[str], object], question: str) -> Times:
    started, worked = time.perf_counter(), time.process_time()
    ask(question)
    return time.perf_counter() - started, time.process_time() - worked


def moved(corpus: Corpus, number: int, random: np.random.Generator) -> NDArray[np.float32]:
    """A vector near one of the page's."""
    vectors = np.frombuffer(corpus.page(number).vectors, dtype="<f4").reshape(-1, DIMENSION)
    near = vectors[number % len(vectors)] + random.normal(size=DIMENSION).astype(np.float32) * MOVED
    unit: NDArray[np.float32] = (near / np.linalg.norm(near)).astype(np.float32)
    return unit


def recall(search: Search, reader: Reader, asked: Mapping[str, NDArray[np.float32]]) -> float:
    """Share of the ten nearest chunks that the vector mode finds."""
    shares = []
    for question, vector in asked.items():
        exact = reader.read(
            lambda lance, vector=vector: (  # type: ignore[misc]
                lance.search(vector, vector_column_name="vector")
                .distance_type("cosine")
                .bypass_vector_index()
                .select(["id", "_distance"])
                .limit(10)
                .to_arrow()
            )
        )
        found = {hit.id for hit in search.answer(question, mode="vector", by="chunk").hits}
        shares.append(len(found & set(exact["id"].to_pylist())) / 10)
    return float(np.mean(shares)) if shares else float("nan")


def beside_writer(
    folder: Path, seconds: float, search: Search, questions: Sequence[str]
) -> tuple[dict[str, Latency], int]:
    """The same questions while another process writes; the rows that it wrote."""
    command = [sys.executable, "-m", "bench.search", "--folder", str(folder), "--write", str(seconds), "--writer"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()  # it has the table
        written: list[str] = []
        reading = threading.Thread(target=lambda: written.extend(writer.stdout or ()))
        reading.start()
        took: dict[str, list[Times]] = {"vector": [], "text": [], "hybrid": []}
        ways = kinds(search)
        turn = 0
        while writer.poll() is None:
            for kind, times in took.items():
                times.append(_timed(ways[kind], questions[turn % len(questions)]))
            turn += 1
        reading.join()
    return {kind: latency(times) for kind, times in took.items() if times}, int(written[-1]) if written else 0


def write(folder: Path, seconds: float) -> int:
    """Takes the table over and writes new pages into it with the sink's upkeep, for so long."""
    bound_memory(str(folder))
    database = connect(str(folder))
    fence = Fence(model=NAME, dimension=DIMENSION, vectors="v", pages=("p",))
    table = Table.take_over(database, NAME, fence, VectorRule(DIMENSION))
    upkeep = Upkeep(table, UpkeepRules(), Metrics(NAME))
    corpus = Corpus(pages=1, seed=8)
    start = int(table.lance.count_rows(f"id != {quoted('')}"))
    print("writing", flush=True)
    deadline = time.monotonic() + seconds
    pages = 0
    while time.monotonic() < deadline:
        batch = [
            corpus.page(start + pages + number, offset=10**10 + pages + number)
            for number in range(WRITTEN_ROWS // CHUNKS)
        ]
        pages += len(batch)
        upkeep.wrote(table.write(batch, {0: 10**10 + pages}))
        upkeep.turn()
    print(pages * CHUNKS)
    return 0


def show(report: SearchFigures) -> None:
    """Prints a line a kind, then the ratios."""
    print(f"{report.rows} rows; first question {report.first_ms:.0f} ms")
    print(f"{report.nprobes} nprobes, refine {report.refine}: recall@10 {report.recall_at_10:.3f}")
    print(f"{'':22} {'p50':>8} {'p95':>8} {'p99':>8} {'processor':>10}   ms")
    every = [*report.kinds.items(), *((f"{kind}, writing", one) for kind, one in report.beside_writer.items())]
    for kind, one in every:
        print(f"{kind:22} {one.p50_ms:8.1f} {one.p95_ms:8.1f} {one.p99_ms:8.1f} {one.processor_ms:10.1f}")
    for name, ratio in report.filtered_to_all.items():
        processor = report.filtered_to_all_processor[name]
        print(f"hybrid with filter {name} to without: {ratio:.2f}, {processor:.2f} of processor time")
    if report.beside_writer:
        print(f"{report.written_rows} rows were written meanwhile")


if __name__ == "__main__":
    sys.exit(main())
