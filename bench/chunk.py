"""The cost of a process of its own to the chunk stage, and the time that odd texts take beside the time that they get.

`python -m bench.chunk [--pages 320] [--rounds 9] [--slow] [--out bench-chunk.json]`. Look at the
ratios of `ChunkProcess`, through its socket, to the same batches in this process, both in turn, round by round: of
pages a second, and of the processor's time, both ends of the socket included, which a busy machine hardly changes.
With `--slow`, texts that are made to be slow, and the share of their time limit that each took.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil

from bench import embed as embed_bench
from consumers.chunk import BATCH_PAGES
from consumers.chunk_child import load
from consumers.chunk_limits import seconds_for
from consumers.chunk_process import ChunkProcess
from consumers.chunk_protocol import PageRecord, Task
from consumers.tokens import load_tokenizer
from pipeline.model_files import ModelFiles, resolve
from pipeline.records import Page, encode
from pipeline.settings import MIB, ModelSettings

FOR_EVER = 3_600.0

SLOW_TEXTS: dict[str, Callable[[], str]] = {
    "one word": lambda: "a" * MIB,
    "accents on one letter": lambda: "a" + "\u0301" * (MIB // 2),
    "accents on every letter": lambda: "a\u0301\u0323" * (MIB // 5),
    "one Chinese character": lambda: "\u4e2d" * (MIB // 3),
    "Thai without spaces": lambda: "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22" * (MIB // 21),
    "emoji of seven code points": lambda: "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466" * (MIB // 25),
    "full stops": lambda: ". " * (MIB // 2),
    "line breaks": lambda: "a\n" * (MIB // 2),
    "control characters": lambda: "\x01" * MIB,
    "white space": lambda: " " * MIB,
}


@dataclass(frozen=True, slots=True)
class Found:
    """Medians over the rounds; the ratios are those of the process to none."""

    pages: int
    pages_per_second: float
    pages_per_second_in_process: float
    ratio: float
    processor_ratio: float
    slow_shares: dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pages", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("bench-chunk.json"))
    given = parser.parse_args()
    settings = ModelSettings()
    files = resolve(settings, weights=False)
    task = Task(
        files=files,
        unit=settings.unit,
        window_tokens=settings.window_tokens,
        overlap_tokens=settings.overlap_tokens,
        topic_id="p",
    )
    with ChunkProcess(task, threading.Event()) as process:
        process.start()
        found = compared(process, task, batches(files, given.pages), given.rounds)
        if given.slow:
            found.slow_shares.update({name: slow_share(process, name, text()) for name, text in SLOW_TEXTS.items()})
    given.out.write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
    print(
        f"{found.pages_per_second:.0f} pages/s in a process of its own, "
        f"{found.pages_per_second_in_process:.0f} without: {found.ratio:.3f} times, "
        f"with {found.processor_ratio:.3f} times the processor's time; {given.out}"
    )
    return 0


def batches(files: ModelFiles, pages: int) -> list[list[PageRecord]]:
    """Long pages of the model's own words, as the stage takes them."""
    words = embed_bench._words(load_tokenizer(files))
    made = embed_bench._pages(words, embed_bench.WORKLOADS["long pages"], pages)
    records = [record(at, page) for at, (_, page) in enumerate(made)]
    return [records[at : at + BATCH_PAGES] for at in range(0, len(records), BATCH_PAGES)]


def record(offset: int, page: Page) -> PageRecord:
    return PageRecord("pages", 0, offset, page.key.encode(), encode(page))


def compared(process: ChunkProcess, task: Task, work: Sequence[Sequence[PageRecord]], rounds: int) -> Found:
    """Both ways in turn, after a round of each to warm up."""
    here, _ = load(task)
    ways: list[Callable[[Sequence[PageRecord]], object]] = [lambda batch: process.ask(batch, FOR_EVER), here.chunk]
    both = [psutil.Process(), psutil.Process(process.pid)]
    rows = [[timed(way, work, both) for way in ways] for _ in range(rounds + 1)][1:]
    pages = sum(map(len, work))
    return Found(
        pages=pages,
        pages_per_second=round(pages / median(apart.seconds for apart, _ in rows), 1),
        pages_per_second_in_process=round(pages / median(within.seconds for _, within in rows), 1),
        ratio=round(median(within.seconds / apart.seconds for apart, within in rows), 4),
        processor_ratio=round(median(apart.processor / within.processor for apart, within in rows), 4),
        slow_shares={},
    )


class Times(NamedTuple):
    """Of one way, in seconds: on the clock, and of processors."""

    seconds: float
    processor: float


def timed(
    way: Callable[[Sequence[PageRecord]], object], work: Sequence[Sequence[PageRecord]], both: list[psutil.Process]
) -> Times:
    start, used = time.perf_counter(), processor_seconds(both)
    for batch in work:
        way(batch)
    return Times(time.perf_counter() - start, processor_seconds(both) - used)


def processor_seconds(processes: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return float(sum(one.user + one.system for one in times))


def slow_share(process: ChunkProcess, name: str, text: str) -> float:
    """The share of its time limit that a page of this text took."""
    one = record(0, Page(wiki="testwiki", page_id="1", title=name, text=text))
    start = time.perf_counter()
    process.ask([one], FOR_EVER)
    took = time.perf_counter() - start
    share = took / seconds_for([one])
    print(f"{name}: {one.size / 1e6:.1f} MB in {took:.1f} s, {share:.1%} of its limit")
    return round(share, 4)


if __name__ == "__main__":
    raise SystemExit(main())
