"""The whole producer, from file to acknowledged by Kafka, against plain decompression of the same files.

`python -m bench.producer [--mib 240] [--shards 4] [--processes 1] [--rounds 3] [--out bench-producer.json]`. Both run
alternately, with as many processes, and both read every byte; the ratio of their times is how much of the
decompressor's speed the producer keeps. The broker runs on the same machine, which a real one does not: leave it a
core. Cores of one machine slow each other down, so that nothing which keeps another core busy can keep all of that
speed: each round also decompresses while the other cores do nothing but turn, and says how much is kept even then.
"""

from __future__ import annotations

import argparse
import bz2
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import psutil

from deploy.local.kafka import LocalKafka
from pipeline.cores import usable_cores
from pipeline.settings import MIB
from producers.bytes.blocks import PackedFile

SNAPSHOT = "20261115"
TEXT_CHARACTERS = 3_200
"""Of a page, and as many of its wikitext, which the reader skips: what an English article has in the mean, twice."""


@dataclass(frozen=True, slots=True)
class Round:
    """One after the other. Where others share the machine, `stolen` is the part of all cores' time that they took: it
    costs the producer, which has work for two cores, more than it costs plain decompression."""

    decompress_s: float
    beside_busy_cores_s: float
    """Plain decompression while every other core is kept busy by something else."""
    produce_s: float
    decompress_stolen: float
    produce_stolen: float

    @property
    def ratio(self) -> float:
        return self.decompress_s / self.produce_s

    @property
    def attainable(self) -> float:
        return self.decompress_s / self.beside_busy_cores_s


@dataclass(frozen=True, slots=True)
class ProducerFigures:
    """The figures of one run; seconds are medians over the rounds."""

    uncompressed_mib: float
    compressed_mib: float
    pages: int
    processes: int
    decompress_s: float
    produce_s: float
    start_s: float
    """Of `produce_s`: what a run over files that are finished takes."""
    speed_of_decompression: float
    """Median of the rounds' decompress_s / produce_s, the start of the producer included: the ratio asked for."""
    attainable: float
    """Median of the rounds' decompress_s / beside_busy_cores_s: what this machine lets anything keep."""
    rounds: list[Round]
    pages_per_s: float
    mib_per_s: float
    peak_rss_mib: list[float]
    """Of the process of each shard, in their order: flat."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mib", type=int, default=240, help="uncompressed")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--processes", type=int, default=1, help="of both; the broker needs a core of its own")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("bench-producer.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-producer-") as folder:
        report = measure(Path(folder), options.mib, options.shards, options.rounds, options.processes)
    options.out.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    for name, value in asdict(report).items():
        print(f"{name:24} {value:.3g}" if isinstance(value, float) else f"{name:24} {value}")
    return 0


def measure(folder: Path, mib: int, count: int, rounds: int, processes: int) -> ProducerFigures:
    """One run in an empty folder."""
    with ProcessPoolExecutor(processes) as pool:
        written = list(
            pool.map(write_shard, *zip(*((folder, n, mib * MIB // count) for n in range(count)), strict=True))
        )
        shards = sorted(folder.glob("*.bz2"))
        compressed = sum(path.stat().st_size for path in shards)
        list(pool.map(decompress, shards))  # the processes are there, and the files are in memory
        found, starts = [], []
        with LocalKafka(folder / "kafka", port=0) as kafka:
            said: dict[str, Any] = {}
            for number in range(rounds):
                run = partial(produce, kafka.bootstrap, folder, f"r{number}", processes)
                plain = measured(lambda: list(pool.map(decompress, shards)))
                with busy_cores(usable_cores() - processes):
                    beside = measured(lambda: list(pool.map(decompress, shards)))
                whole, again = measured(run), measured(run)
                said = whole.result
                starts.append(again.seconds)
                found.append(Round(plain.seconds, beside.seconds, whole.seconds, plain.stolen, whole.stolen))
                kept = f"{found[-1].ratio:.2f} of {found[-1].attainable:.2f}"
                print(f"round {number + 1}: {kept} {found[-1]}", file=sys.stderr)
    size, pages = sum(size for size, _ in written), sum(pages for _, pages in written)
    if said["total"]["produced"] != pages:
        raise SystemExit(f"error: {said['total']['produced']} of {pages} pages were produced")
    return ProducerFigures(
        uncompressed_mib=size / MIB,
        compressed_mib=compressed / MIB,
        pages=pages,
        processes=processes,
        decompress_s=median(each.decompress_s for each in found),
        produce_s=(produce_s := median(each.produce_s for each in found)),
        start_s=median(starts),
        speed_of_decompression=median(each.ratio for each in found),
        attainable=median(each.attainable for each in found),
        rounds=found,
        pages_per_s=pages / produce_s,
        mib_per_s=size / MIB / produce_s,
        peak_rss_mib=[round(shard["peak_memory_bytes"] / MIB, 1) for shard in said["shards"]],
    )


class Measured(NamedTuple):
    """The yield of some work, and its cost."""

    result: Any
    seconds: float
    stolen: float


def measured(work: Callable[[], Any]) -> Measured:
    began, before = time.perf_counter(), psutil.cpu_times()
    result = work()
    after = psutil.cpu_times()
    stolen = getattr(after, "steal", 0.0) - getattr(before, "steal", 0.0)
    return Measured(result, time.perf_counter() - began, round(stolen / max(1e-9, sum(after) - sum(before)), 3))


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Keeps so many cores busy with a loop that needs nothing but a core."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def decompress(path: Path) -> int:
    """The least work of any reader, with the producer's own blocks."""
    return sum(len(block) for block in PackedFile(path).blocks())


def produce(bootstrap: str, folder: Path, namespace: str, processes: int) -> dict[str, Any]:
    """`python -m producers.cirrus` over the folder, as anybody runs it."""
    environment = {
        # As it is by default: with it, all modules are compiled anew in each process.
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "CIRROSTREAM_NAMESPACE": namespace,
        "CIRROSTREAM_DATA_DIR": str(folder),
        "CIRROSTREAM_METRICS_PORT": "0",
    }
    command = [sys.executable, "-m", "producers.cirrus", "--json", f"--processes={processes}", f"{folder}/*.bz2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def write_shard(folder: Path, number: int, size: int) -> tuple[int, int]:
    """One shard of made-up pages, its bytes before compression, and its pages."""
    random = np.random.default_rng(number)
    words = ["".join(map(chr, random.integers(97, 123, random.integers(2, 11)))) for _ in range(20_000)]
    ranks = random.zipf(1.2, 400_000) % len(words)  # words of a language are that unequal
    corpus = " ".join(words[rank] for rank in ranks)
    path = folder / f"enwiki_content-{SNAPSHOT}-{number:05}.json.bz2"
    written = pages = 0
    with bz2.open(path, "wb") as file:
        while written < size:
            start = int(random.integers(len(corpus) - 2 * TEXT_CHARACTERS))
            data = page(number * 10_000_000 + pages, corpus[start : start + 2 * TEXT_CHARACTERS])
            file.write(data)
            written, pages = written + len(data), pages + 1
    return written, pages


def page(page_id: int, words: str) -> bytes:
    """An action line and a document with the fields that an article has."""
    document = {
        "page_id": page_id,
        "page_type": "primary",
        "namespace": 0,
        "namespace_text": "",
        "title": words[:30],
        "text": words[:TEXT_CHARACTERS],
        "opening_text": words[:300],
        "source_text": words,
        "wiki": "enwiki",
        "language": "en",
        "version": page_id,
        "timestamp": "2026-11-01T00:00:00Z",
        "category": [words[40:60], words[70:90]],
        "outgoing_link": words[100:700].split(),
        "redirect": [{"namespace": 0, "title": words[90:110]}],
        "incoming_links": page_id % 1000,
        "popularity_score": 1e-7,
    }
    return json.dumps({"index": {"_id": page_id}}).encode() + b"\n" + json.dumps(document).encode() + b"\n"


if __name__ == "__main__":
    sys.exit(main())
