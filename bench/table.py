"""Writes made-up pages through the sink's own Table and Upkeep: does a large table take rows as fast as a small one?

`python -m bench.table [--rows 500000] [--updates 0.1] [--folder FOLDER] [--out bench-table.json]`. Look at the ratios:
absolute rates say more about the machine. On one that others use as well, look at those of processor time.

First the load, with all the upkeep that is due meanwhile; then each index that the sink makes when nothing comes, by
itself; then one more batch and the optimize that brings all indexes up to date. The text is 60 words a row
(`bench.corpus`).
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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from bench.corpus import CHUNKS, DIMENSION, Corpus
from pipeline.metrics import Metrics
from pipeline.records import EmbeddedPage
from pipeline.settings import TableSettings
from sinks.fence import Fence
from sinks.memory import AT_START, bound_memory
from sinks.reader import Reader
from sinks.rows import VectorRule
from sinks.search.nearest import nearest
from sinks.storage import connect
from sinks.table import Table
from sinks.table_indexes import found_indexes
from sinks.upkeep import IDLE_S, Upkeep, UpkeepRules, UpkeepStep, fragments

NAME = "bench"
BATCH_ROWS = 10_000
QUERIES = 50
MOST_STEPS = 100


@dataclass(slots=True)
class Cost:
    """The price of a step, or of several of the same."""

    seconds: float = 0
    processor_s: float = 0
    peak_mib: float = 0
    """Resident memory of the process at its highest."""

    def add(self, other: Cost) -> None:
        self.seconds += other.seconds
        self.processor_s += other.processor_s
        self.peak_mib = max(self.peak_mib, other.peak_mib)


@contextmanager
def cost() -> Iterator[Cost]:
    """Costs of a block."""
    with suppress(OSError):  # Linux alone forgets how high it was
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    started, worked, found = time.perf_counter(), time.process_time(), Cost()
    yield found
    found.seconds = time.perf_counter() - started
    found.processor_s = time.process_time() - worked
    found.peak_mib = peak_mib()


def peak_mib() -> float:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


@dataclass(slots=True)
class IndexCost(Cost):
    """The price of one index, and its size."""

    mib: float = 0


@dataclass(frozen=True, slots=True)
class TableFigures:
    """Findings of one run; seconds, rows, bytes."""

    rows: int
    updates: float
    first_tenth_rows_per_s: float
    last_tenth_rows_per_s: float
    last_to_first: float
    """The ratio that must not fall: writes alone, without upkeep."""
    last_to_first_processor: float
    """The same of rows per second of processor time."""
    rows_per_s_with_upkeep: float
    kept_of_rate: float
    """Rows per second with all upkeep that was due during the load, against writes alone."""
    kept_of_rate_processor: float
    upkeep: dict[str, Cost]
    """By step, during the load."""
    indexes: dict[str, IndexCost]
    """By column, made after the load."""
    optimize_after: Cost
    """Of one more batch, all indexes brought up to date."""
    optimize_writes_mib: float
    most_fragments: int
    fragments: int
    search_first_ms: float
    """With nothing of the index in memory."""
    search_p50_ms: float
    search_recall_at_1: float
    write_peak_mib: float
    peak_rss_mib: float
    rows_mib: float
    """Of the newest version, without indexes."""
    disk_mib: float
    """With old versions."""


def main() -> int:
    if AT_START.keys() - os.environ.keys():  # as the runner starts `sinks.lance`
        os.execve(sys.executable, [sys.executable, "-m", "bench.table", *sys.argv[1:]], {**AT_START, **os.environ})
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--updates", type=float, default=0.0, help="share of pages that are there already")
    parser.add_argument("--folder", type=Path, help="an empty folder in which the table stays; else it is removed")
    parser.add_argument("--out", type=Path, default=Path("bench-table.json"))
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-table-")))
        report = measure(folder, options.rows, options.updates)
    options.out.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    show(asdict(report))
    return 0


def show(report: dict[str, object], before: str = "") -> None:
    for name, value in report.items():
        if isinstance(value, dict):
            show(value, f"{before}{name}.")
        else:
            print(f"{before + name:44} {value:.3g}" if isinstance(value, float) else f"{before + name:44} {value}")


@dataclass(slots=True)
class Load:
    """Results of writing all batches."""

    writes: list[Cost] = field(default_factory=list)
    upkeep: dict[str, Cost] = field(default_factory=dict)
    fragments: list[int] = field(default_factory=list)

    def total(self, what: str) -> tuple[float, float]:
        """Of the writes alone, and with upkeep."""
        writes = sum(getattr(write, what) for write in self.writes)
        return writes, writes + sum(getattr(step, what) for step in self.upkeep.values())


def measure(folder: Path, rows: int, updates: float) -> TableFigures:
    """One run in an empty folder."""
    bound_memory(str(folder))
    rule = VectorRule(DIMENSION)
    fence = Fence(model="bench", dimension=DIMENSION, vectors="v", pages=("p",))
    table = Table.create(connect(str(folder)), NAME, fence, rule)
    upkeep = Upkeep(table, UpkeepRules(), Metrics("bench"))
    corpus = Corpus(pages=max(BATCH_ROWS, rows) // CHUNKS)
    done = load(table, upkeep, pages(corpus, max(10, rows // BATCH_ROWS), updates))
    indexes = settle(table, upkeep)
    more = [corpus.page(number, offset=10 * rows + number) for number in range(BATCH_ROWS // CHUNKS)]
    upkeep.wrote(table.write(more, {0: 1_000_000_000}))
    before = on_disk(folder)
    with cost() as optimized:
        upkeep.do(UpkeepStep.OPTIMIZE)
    first_ms, p50, recall = search(Reader.open(TableSettings(lance_uri=str(folder), table=NAME)))
    first, last = tenths([write.seconds for write in done.writes])
    first_busy, last_busy = tenths([write.processor_s for write in done.writes])
    (writes, total), (busy, all_busy) = done.total("seconds"), done.total("processor_s")
    everything = (*done.writes, *done.upkeep.values(), *indexes.values(), optimized)
    return TableFigures(
        rows=BATCH_ROWS * len(done.writes),
        updates=updates,
        first_tenth_rows_per_s=first,
        last_tenth_rows_per_s=last,
        last_to_first=last / first,
        last_to_first_processor=last_busy / first_busy,
        rows_per_s_with_upkeep=BATCH_ROWS * len(done.writes) / total,
        kept_of_rate=writes / total,
        kept_of_rate_processor=busy / all_busy,
        upkeep=done.upkeep,
        indexes=indexes,
        optimize_after=optimized,
        optimize_writes_mib=on_disk(folder) - before,
        most_fragments=max(done.fragments),
        fragments=fragments(table),
        search_first_ms=first_ms,
        search_p50_ms=p50,
        search_recall_at_1=recall,
        write_peak_mib=max(write.peak_mib for write in done.writes),
        peak_rss_mib=max(one.peak_mib for one in everything),
        rows_mib=int(table.lance.list_versions()[-1]["metadata"]["total_files_size"]) / 1024**2,
        disk_mib=on_disk(folder),
    )


def load(table: Table, upkeep: Upkeep, batches: Iterator[list[EmbeddedPage]]) -> Load:
    """Writes all batches, and does what is due in between."""
    done = Load()
    for number, batch in enumerate(batches):
        with cost() as write:
            upkeep.wrote(table.write(batch, {0: number + 1}))
        done.writes.append(write)
        with cost() as turned:
            step = upkeep.turn()
        if step:
            done.upkeep.setdefault(step.value, Cost()).add(turned)
        done.fragments.append(fragments(table))
        if sys.stderr.isatty():
            print(f"\r{(number + 1) * BATCH_ROWS} rows", end="", file=sys.stderr)
    print(file=sys.stderr)
    return done


def settle(table: Table, upkeep: Upkeep) -> dict[str, IndexCost]:
    """Upkeep as the sink does it when nothing comes: the price of each index that it makes then, by column."""
    found: dict[str, IndexCost] = {}
    time.sleep(IDLE_S)
    for _ in range(MOST_STEPS):
        before = {one.name for one in found_indexes(table.lance)}
        with cost() as taken:
            step = upkeep.turn()
        if step is None:
            break
        new = [one for one in found_indexes(table.lance) if one.name not in before]
        if step is UpkeepStep.SEARCH_INDEX and new:
            found[new[0].column] = IndexCost(**asdict(taken), mib=new[0].bytes / 1024**2)
    return found


def on_disk(folder: Path) -> float:
    """MiB of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1024**2


def tenths(seconds: list[float]) -> tuple[float, float]:
    """Rows per second in the first and in the last tenth of the batches."""
    tenth = max(1, len(seconds) // 10)
    return tuple(BATCH_ROWS * tenth / sum(part) for part in (seconds[:tenth], seconds[-tenth:]))  # type: ignore[return-value]


def pages(corpus: Corpus, batches: int, updates: float) -> Iterator[list[EmbeddedPage]]:
    """Batches of pages, a share of them there already; every version is newer than the one before."""
    random = np.random.default_rng(7)
    known = offset = 0
    for _ in range(batches):
        batch = []
        for _ in range(BATCH_ROWS // CHUNKS):
            old = known and random.random() < updates
            number = int(random.integers(known)) if old else known
            known += not old
            offset += 1
            batch.append(corpus.page(number, offset))
        yield batch


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
