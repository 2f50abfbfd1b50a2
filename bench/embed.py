"""Packed token ids against `SentenceTransformer.encode` on the same chunks, alternating in one run.

`python -m bench.embed [--pages 24] [--rounds 3] [--device cpu] [--out bench-embed.json]`. Look at the ratios; on a
machine that others use as well, at those of processor time. Three ways, all in fp32: `packed` is our embedder over the
whole window of pages, `whole` is one `encode` over all their texts (it sorts by length itself), `arrival` is one
`encode` a page, which is what a consumer without packing does. `auto` is packed in the precision that the probe chose.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
from tokenizers import Tokenizer

from consumers.chunking import Chunker
from consumers.embedder import BUDGETS, Embedder
from consumers.packing import ElasticBudget, TokenBudget
from consumers.tokens import load_tokenizer
from pipeline.model_files import resolve
from pipeline.records import ChunkedPage, Page, Source
from pipeline.settings import ModelSettings

WORKLOADS = {"long pages": (300, 1_500), "short pages": (4, 160)}
"""Words of a page, from and to."""

SIZES = (1_024, 2_048, 4_096, 8_192, 16_384)


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians over the rounds."""

    chunks_per_s: float
    chunks_per_processor_s: float


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of pages, timed in every way."""

    name: str
    chunks: int
    tokens: int
    padding_efficiency: float
    ways: dict[str, Timing]
    packed_to_whole: float
    packed_to_arrival: float
    auto_to_packed: float


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pages", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--budgets", action="store_true", help="also try several token budgets")
    parser.add_argument("--out", type=Path, default=Path("bench-embed.json"))
    given = parser.parse_args()
    settings = ModelSettings()
    files = resolve(settings, weights=True)
    chunker = Chunker(files, settings.unit, settings.window_tokens, settings.overlap_tokens)
    words = _words(load_tokenizer(files))
    exact = Embedder.load(files, device=given.device, dtype="fp32")
    auto = Embedder.load(files, device=given.device)
    print(f"{exact.device_name}: " + "; ".join(map(str, auto.probes)) + f"; chosen: {auto.dtype}")
    found = []
    budgets = {}
    for name, length in WORKLOADS.items():
        pages = [
            chunker.chunk(page).record(Source("bench", 0, page_at))
            for page_at, page in _pages(words, length, given.pages)
        ]
        texts = [[chunker.embedded_text(page.page, c) for c in page.chunks] for page in pages if page.page]
        found.append(_compare(name, (exact, auto), pages, texts, given.rounds))
        if given.budgets:
            budgets[name] = _budgets(exact, pages, given.rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024) / 1024
    report = {
        "device": exact.device_name,
        "dtype_auto": auto.dtype,
        "probes": [asdict(probe) for probe in auto.probes],
        "workloads": [asdict(workload) for workload in found],
        "tokens_per_processor_s_by_budget": budgets,
        "peak_rss_gib": round(peak, 3),
    }
    given.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"peak {peak:.2f} GiB with two models; {given.out}")
    return 0


def _compare(
    name: str, embedders: tuple[Embedder, Embedder], pages: list[ChunkedPage], texts: list[list[str]], rounds: int
) -> Workload:
    exact, auto = embedders
    flat = [text for page in texts for text in page]
    model = exact.encoder.model

    def arrival() -> None:
        for page in texts:
            model.encode(page, prompt="", batch_size=32, show_progress_bar=False)

    ways: dict[str, Callable[[], object]] = {
        "packed": lambda: exact.embed(pages),
        "whole": lambda: model.encode(flat, prompt="", batch_size=32, show_progress_bar=False),
        "arrival": arrival,
        "auto": lambda: auto.embed(pages),
    }
    exact.take_stats()
    timings = _alternating(ways, rounds, len(flat))
    stats = exact.take_stats()
    workload = Workload(
        name=name,
        chunks=len(flat),
        tokens=stats.tokens // (rounds + 1),
        padding_efficiency=round(stats.tokens / stats.padded_tokens, 4),
        ways=timings,
        packed_to_whole=_ratio(timings, "packed", "whole"),
        packed_to_arrival=_ratio(timings, "packed", "arrival"),
        auto_to_packed=_ratio(timings, "auto", "packed"),
    )
    print(
        f"{name}: {workload.chunks} chunks, padding efficiency {workload.padding_efficiency:.3f}; of processor time: "
        f"packed {workload.packed_to_whole:.2f}x whole, {workload.packed_to_arrival:.2f}x arrival; auto "
        f"{workload.auto_to_packed:.2f}x packed; packed {timings['packed'].chunks_per_s:.1f} chunks/s"
    )
    return workload


def _alternating(ways: dict[str, Callable[[], object]], rounds: int, chunks: int) -> dict[str, Timing]:
    """Each way once a round, so that what else the machine does hits all of them; the first round only warms up."""
    walls: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, run in ways.items():
            wall, used = time.perf_counter(), time.process_time()
            run()
            if turn:
                walls[name].append(time.perf_counter() - wall)
                processor[name].append(time.process_time() - used)
    return {
        name: Timing(round(chunks / median(walls[name]), 2), round(chunks / median(processor[name]), 2))
        for name in ways
    }


def _budgets(embedder: Embedder, pages: Sequence[ChunkedPage], rounds: int) -> dict[str, float]:
    """Tokens per second of processor time for each size of a pass."""
    ways: dict[str, Callable[[], object]] = {}
    wanted = embedder.budget
    for size in SIZES:

        def run(budget: TokenBudget = TokenBudget(size, BUDGETS["cpu"].rows)) -> None:  # noqa: B008 - bound now
            embedder.budget = ElasticBudget(budget)
            embedder.embed(pages)

        ways[str(size)] = run
    embedder.take_stats()
    embedder.embed(pages)
    timings = _alternating(ways, rounds, embedder.take_stats().tokens)
    embedder.budget = wanted
    found = {size: timing.chunks_per_processor_s for size, timing in timings.items()}
    print("tokens per processor second by budget: " + ", ".join(f"{size}: {rate:,.0f}" for size, rate in found.items()))
    return found


def _ratio(timings: dict[str, Timing], one: str, other: str) -> float:
    return round(timings[one].chunks_per_processor_s / timings[other].chunks_per_processor_s, 3)


def _words(tokenizer: Tokenizer) -> list[str]:
    words = [word for word in tokenizer.get_vocab(with_added_tokens=False) if word.isalpha() and len(word) > 1]
    return sorted(words)


def _pages(words: list[str], length: tuple[int, int], count: int) -> list[tuple[int, Page]]:
    """Seeded pages of random words, in sentences."""
    random = np.random.default_rng(7)
    made = []
    for number in range(count):
        chosen = random.choice(words, int(random.integers(*length)))
        sentences = [" ".join(part) + "." for part in np.array_split(chosen, max(1, len(chosen) // 14))]
        page = Page(wiki="bench", page_id=str(number), title=" ".join(chosen[:2]), text=" ".join(sentences))
        made.append((number, page))
    return made


if __name__ == "__main__":
    raise SystemExit(main())
