"""Writes synthetic pages through the sink's own Table and Upkeep: does a large table take rows as fast as a small one?

`python -m bench.table [--rows 500000] [--updates 0.1] [--out bench-table.json]`. Look at the ratios: absolute rates say
more about the machine. On one that others use as well, look at those of processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np

from pipeline.metrics import Metrics
from pipeline.records import EmbeddedPage, Page, Source, Span
from pipeline.settings import TableSettings
from sinks.fence import Fence
from sinks.memory import AT_START, bound_memory
from sinks.reader import Reader
from sinks.rows import VectorRule
from sinks.search.nearest import nearest
from sinks.storage import connect
from sinks.table import Table
from sinks.upkeep import IDLE_S, Upkeep, UpkeepRules, fragments

DIMENSION = 384
CHUNKS = 7
CHUNK_CHARACTERS = 900
BATCH_ROWS = 10_000
QUERIES = 50


@dataclass(frozen=True, slots=True)
class Report:
    """What one run found; seconds, rows, bytes."""

    rows: int
    updates: float
    first_tenth_rows_per_s: float
    last_tenth_rows_per_s: float
    last_to_first: float
    """The ratio that must not fall: writes alone, without upkeep."""
    last_to_first_processor: float
    """The same of rows per second of processor time."""
    rows_per_s_with_upkeep: float
    upkeep_share: float
    upkeep_s: dict[str, float]
    most_fragments: int
    fragments: int
    search_first_ms: float
    """With nothing of the index in memory."""
    search_p50_ms: float
    search_recall_at_1: float
    peak_rss_mib: float
    disk_mib: float


def main() -> int:
    if AT_START.keys() - os.environ.keys():  # as the runner starts `sinks.lance`
        os.execve(sys.executable, [sys.executable, "-m", "bench.table", *sys.argv[1:]], {**AT_START, **os.environ})
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--updates", type=float, default=0.0, help="share of pages that are there already")
    parser.add_argument("--out", type=Path, default=Path("bench-table.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-table-") as folder:
        report = measure(Path(folder), options.rows, options.updates)
    options.out.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    for name, value in asdict(report).items():
        print(f"{name:28} {value:.3g}" if isinstance(value, float) else f"{name:28} {value}")
    return 0


def measure(folder: Path, rows: int, updates: float) -> Report:
    """One run in an empty folder."""
    bound_memory(str(folder))
    rule = VectorRule(DIMENSION)
    fence = Fence(model="bench", dimension=DIMENSION, vectors="v", pages=("p",))
    table = Table.create(connect(str(folder)), "bench", fence, rule)
    upkeep = Upkeep(table, UpkeepRules(), Metrics("bench"))
    writes, busy, totals, counts = [], [], [], []
    steps: dict[str, float] = {}
    batches = max(10, rows // BATCH_ROWS)
    for number, batch in enumerate(pages(batches, updates)):
        started, worked = time.perf_counter(), time.process_time()
        upkeep.wrote(table.write(batch, {0: number + 1}))
        writes.append(time.perf_counter() - started)
        busy.append(time.process_time() - worked)
        turned = time.perf_counter()
        if step := upkeep.turn():
            steps[step.value] = steps.get(step.value, 0) + time.perf_counter() - turned
        totals.append(time.perf_counter() - started)
        counts.append(fragments(table))
        print(f"\r{(number + 1) * BATCH_ROWS} rows", end="", file=sys.stderr)
    print(file=sys.stderr)
    idle(upkeep)
    first_ms, p50, recall = search(Reader.open(TableSettings(lance_uri=str(folder), table="bench")))
    first, last = tenths(writes)
    first_busy, last_busy = tenths(busy)
    return Report(
        rows=batches * BATCH_ROWS,
        updates=updates,
        first_tenth_rows_per_s=first,
        last_tenth_rows_per_s=last,
        last_to_first=last / first,
        last_to_first_processor=last_busy / first_busy,
        rows_per_s_with_upkeep=batches * BATCH_ROWS / sum(totals),
        upkeep_share=1 - sum(writes) / sum(totals),
        upkeep_s=steps,
        most_fragments=max(counts),
        fragments=fragments(table),
        search_first_ms=first_ms,
        search_p50_ms=p50,
        search_recall_at_1=recall,
        peak_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        / (1024 if sys.platform == "linux" else 1024**2),
        disk_mib=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1024**2,
    )


def idle(upkeep: Upkeep) -> None:
    """What the sink does when nothing comes."""
    deadline = time.monotonic() + 3 * IDLE_S
    while time.monotonic() < deadline:
        upkeep.turn()
        time.sleep(0.2)


def tenths(seconds: list[float]) -> tuple[float, float]:
    """Rows per second in the first and in the last tenth of the batches."""
    tenth = max(1, len(seconds) // 10)
    return tuple(BATCH_ROWS * tenth / sum(part) for part in (seconds[:tenth], seconds[-tenth:]))  # type: ignore[return-value]


def pages(batches: int, updates: float) -> Iterator[list[EmbeddedPage]]:
    """Batches of pages with text that compresses about as English does; every version is newer than the one before."""
    random = np.random.default_rng(7)
    words = ["".join(map(chr, random.integers(97, 123, random.integers(2, 10)))) for _ in range(5_000)]
    corpus = " ".join(random.choice(words, 500_000))
    known = offset = 0
    for _ in range(batches):
        batch = []
        for _ in range(BATCH_ROWS // CHUNKS):
            old = known and random.random() < updates
            number = int(random.integers(known)) if old else known
            known += not old
            offset += 1
            batch.append(page(number, offset, random, corpus))
        yield batch


def page(number: int, offset: int, random: np.random.Generator, corpus: str) -> EmbeddedPage:
    start = int(random.integers(len(corpus) - CHUNKS * CHUNK_CHARACTERS))
    text = corpus[start : start + CHUNKS * CHUNK_CHARACTERS]
    spans = tuple(Span(n, n * len(text) // CHUNKS, (n + 1) * len(text) // CHUNKS) for n in range(CHUNKS))
    vectors = clustered(random, CHUNKS)
    return EmbeddedPage(
        key=f"enwiki:{number}",
        source=Source("p", number % 32, offset),
        page=Page(wiki="enwiki", page_id=str(number), title=f"Page {number}", text=text, categories=("A", "B", "C")),
        spans=spans,
        dimension=DIMENSION,
        vectors=vectors.tobytes(),
    )


_CENTRES = np.random.default_rng(1).normal(size=(2_000, DIMENSION)).astype(np.float32)


def clustered(random: np.random.Generator, count: int) -> np.ndarray:
    """Unit vectors around 2,000 centres, for no index can order vectors that are all equally far apart."""
    found = _CENTRES[random.integers(len(_CENTRES), size=count)]
    found = found + random.normal(size=(count, DIMENSION)).astype(np.float32) * np.float32(0.7)
    unit: np.ndarray = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype("<f4")
    return unit


def search(reader: Reader) -> tuple[float, float, float]:
    """Milliseconds of the first search and of the median one, and how often a stored vector, slightly moved, finds its
    own row first."""
    stored = reader.lance.search().where("n = 0").select(["id", "vector"]).limit(QUERIES).to_arrow().to_pylist()
    random = np.random.default_rng(3)
    took, found = [], 0
    for row in stored:
        query = np.asarray(row["vector"], dtype=np.float32) + random.normal(size=DIMENSION).astype(np.float32) * 0.005
        started = time.perf_counter()
        hits = nearest(reader, query, 10)
        took.append(time.perf_counter() - started)
        found += hits[0].id == row["id"]
    return 1000 * took[0], 1000 * median(took), found / len(stored)


if __name__ == "__main__":
    sys.exit(main())
