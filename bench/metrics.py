"""The cost of our metrics: a stop-watch on their calls, in the loops of `chunk`, `embed` and `lance`.

`python -m bench.metrics [--pages 32] [--rounds 5] [--device cpu] [--out bench-metrics.json]`. Look at the shares: time
in metrics, the stop-watch's own included, of the time that the loop took in the same run; and the processor time of one
scrape, of both its ends, in the 15 s between two. Kafka answers at once here, so that the loops are faster and the
shares larger than in a real run. Together they must stay below 1 %.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, cast

from msgspec.structs import replace

from bench import embed as embed_bench
from bench import table as table_bench
from bench.corpus import CHUNKS, DIMENSION, Corpus
from bench.in_memory import in_memory
from bench.stopwatch import put_on
from consumers.chunk import BATCH_PAGES, ChunkSettings, ChunkStage
from consumers.chunk_process import ChunkProcess
from consumers.chunk_protocol import PageRecord, Task
from consumers.chunk_work import ChunkWork
from consumers.chunking import Chunker
from consumers.embed import EmbedSettings, EmbedStage
from consumers.embed import run as run_embed
from consumers.embedder import Embedder
from consumers.tokens import load_tokenizer
from pipeline.batches import BatchSource, Limit
from pipeline.dead_letters import DeadLetters
from pipeline.first_positions import from_committed
from pipeline.metrics import Metrics
from pipeline.model_files import ModelFiles, resolve
from pipeline.offsets import TopicLog
from pipeline.publisher import Publisher
from pipeline.records import EmbeddedPage, Page, Source, encode
from pipeline.service import Service
from pipeline.settings import MIB, ModelSettings, ServiceSettings
from pipeline.topics import CorpusTopics, ModelTopics
from pipeline.upgrade_grace import Grace
from sinks.fence import Fence
from sinks.intake import Intake, weight
from sinks.origin import Origins
from sinks.rows import VectorRule
from sinks.storage import connect
from sinks.table import Table
from sinks.upkeep import Upkeep, UpkeepRules

SCRAPE_SECONDS = 15.0
SCRAPES = 40
CORPUS = CorpusTopics("pages", "progress", "dead_letters")
MODEL = ModelTopics("chunks", "vectors", "chunk", "embed")


@dataclass(frozen=True, slots=True)
class Loop:
    """One stage; medians over the rounds."""

    stage: str
    batches: int
    calls_per_batch: float
    us_per_batch: float
    batch_ms: float
    share: float
    scrape_ms: float
    scrape_bytes: int
    scrape_share: float
    total_share: float


@dataclass(frozen=True, slots=True)
class Round:
    """One run of a loop."""

    batches: int
    calls: int
    metrics_s: float
    loop_s: float


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pages", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("bench-metrics.json"))
    given = parser.parse_args()
    files = resolve(ModelSettings(), weights=True)
    words = embed_bench._words(load_tokenizer(files))
    pages = [page for _, page in embed_bench._pages(words, embed_bench.WORKLOADS["long pages"], given.pages)]
    settings = ModelSettings()
    chunker = Chunker(files, settings.unit, settings.window_tokens, settings.overlap_tokens)
    embedder = Embedder.load(files, device=given.device, dtype="fp32")
    corpus = Corpus(pages=3 * table_bench.BATCH_ROWS // CHUNKS)
    vectors = [page for batch in corpus.batches(table_bench.BATCH_ROWS // CHUNKS) for page in batch]
    ways: dict[str, Callable[[Service], Round]] = {
        "chunk": lambda service: chunk_round(service, files, pages * 4),
        "embed": lambda service: embed_round(service, chunker, embedder, pages),
        "lance": lambda service: lance_round(service, files, vectors),
    }
    found = [loop(stage, way, given.rounds) for stage, way in ways.items()]
    given.out.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n", encoding="utf-8")
    worst = max(one.total_share for one in found)
    print(f"at most {worst:.3%} of a replica's time, {'below' if worst < 0.01 else 'NOT below'} 1 %; {given.out}")
    return 0


def loop(stage: str, way: Callable[[Service], Round], rounds: int) -> Loop:
    """Runs a stage's loop so many times, after one to warm up, and scrapes what the last one left."""
    done = []
    for turn in range(rounds + 1):
        with Service(stage, ServiceSettings(metrics_port=0)) as service:
            one = way(service)
            if turn:
                done.append(one)
            if turn == rounds:
                scrape_s, scrape_bytes = scrape(service.address)
    share, scrape_share = median(one.metrics_s / one.loop_s for one in done), scrape_s / SCRAPE_SECONDS
    found = Loop(
        stage=stage,
        batches=done[-1].batches,
        calls_per_batch=round(median(one.calls / one.batches for one in done), 1),
        us_per_batch=round(median(one.metrics_s / one.batches for one in done) * 1e6, 1),
        batch_ms=round(median(one.loop_s / one.batches for one in done) * 1e3, 2),
        share=round(share, 6),
        scrape_ms=round(scrape_s * 1e3, 2),
        scrape_bytes=scrape_bytes,
        scrape_share=round(scrape_share, 6),
        total_share=round(share + scrape_share, 6),
    )
    print(
        f"{stage}: {found.calls_per_batch:.0f} calls a batch, {found.us_per_batch:.0f} us of {found.batch_ms:.1f} ms, "
        f"{share:.3%}; a scrape takes {found.scrape_ms:.1f} ms for {scrape_bytes / 1024:.0f} KiB, {scrape_share:.3%}"
    )
    return found


def scrape(address: str) -> tuple[float, int]:
    """Processor seconds of one scrape, the client's among them, and its bytes."""
    used = []
    size = 0
    for _ in range(SCRAPES):
        start = time.process_time()
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            size = len(answer.read())
        used.append(time.process_time() - start)
    return median(used), size


def chunk_round(service: Service, files: ModelFiles, pages: list[Page]) -> Round:
    """`ChunkStage`, with topics that acknowledge at once; the two calls in faust's consumer are added by hand."""
    task = Task(files=files, unit=ModelSettings().unit, window_tokens=200, overlap_tokens=40, topic_id="p")
    with ChunkProcess(task, service.stopping) as process:
        process.start()
        return _chunk_round(service, process, pages)


def _chunk_round(service: Service, process: ChunkProcess, pages: list[Page]) -> Round:
    cluster = in_memory(CORPUS.pages, [], service.stopping)
    watch = put_on(service.metrics)
    letters = DeadLetters(None, CORPUS.dead_letters, service.metrics, 0)
    work = ChunkWork(
        process,
        topic_id="p",
        chunks_topic=MODEL.chunks,
        max_bytes=32 * MIB,
        letters=letters,
        metrics=service.metrics,
        stopping=service.stopping,
        grace=Grace(),
    )
    stage = ChunkStage(service, cluster, ChunkSettings(), work=work, corpus=CORPUS, model=MODEL)
    stage._topics = dict.fromkeys((MODEL.chunks, CORPUS.dead_letters), _Topic())
    records = [PageRecord("pages", 0, at, page.key.encode(), encode(page)) for at, page in enumerate(pages)]
    batches = [records[at : at + BATCH_PAGES] for at in range(0, len(records), BATCH_PAGES)]

    async def run() -> None:
        for batch in batches:
            service.metrics.took("fetch", 0.001)
            await stage._deliver(work.chunk(batch))
            service.metrics.took("commit", 0.001)
            service.turned()

    start = time.perf_counter()
    asyncio.run(run())
    return Round(len(batches), watch.calls, watch.seconds, time.perf_counter() - start)


class _Topic:
    async def send(self, **_: object) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


def embed_round(service: Service, chunker: Chunker, embedder: Embedder, pages: list[Page]) -> Round:
    """The loop of `consumers.embed` as it is."""
    chunked = [chunker.chunk(page).record(Source("p", 0, at)) for at, page in enumerate(pages)]
    records = [(page.key.encode(), encode(page)) for page in chunked]
    cluster = in_memory(MODEL.chunks, records, service.stopping)
    embedder.take_stats()
    watch = put_on(service.metrics)
    with Publisher(cluster, service.metrics) as publisher:
        letters = DeadLetters(publisher, CORPUS.dead_letters, service.metrics, 0)
        stage = EmbedStage(service, embedder, publisher, letters, MODEL)
        source = stage.source(cluster, EmbedSettings())
        start = time.perf_counter()
        run_embed(source, stage)
        seconds = time.perf_counter() - start
    return Round(_batches(service.metrics), watch.calls, watch.seconds, seconds)


def lance_round(service: Service, files: ModelFiles, pages: list[EmbeddedPage]) -> Round:
    """The loop of `sinks.lance`, without trimming, on a new table."""
    # All in partition 0: the sink takes no page whose source is of another.
    pages = [replace(page, source=Source("p", 0, page.source.offset)) for page in pages]
    cluster = in_memory(MODEL.vectors, [(page.key.encode(), encode(page)) for page in pages], service.stopping)
    rule = VectorRule(DIMENSION)
    with tempfile.TemporaryDirectory(prefix="bench-metrics-") as folder, Publisher(cluster) as publisher:
        fence = Fence(model=files.tag, dimension=rule.dimension, vectors="v", pages=("p",))
        table = Table.create(connect(folder), "bench", fence, rule)
        watch, metrics = put_on(service.metrics), service.metrics
        upkeep = Upkeep(table, UpkeepRules(), metrics, service.step)
        letters = DeadLetters(publisher, CORPUS.dead_letters, metrics, 0)
        intake = Intake(
            table, letters, metrics, origins=Origins(lambda: TopicLog("p", {0: 0}, {0: 1 << 40})), adopt=False
        )
        source: BatchSource[EmbeddedPage] = BatchSource(
            cluster,
            MODEL.vectors,
            "lance",
            decode=intake.decode,
            poison=letters.poison,
            newer=lambda _, __: None,
            weigh=weight,
            limit=Limit(10_000, 1.0),
            positions=from_committed("lance", ""),
            stopping=service.stopping,
            metrics=metrics,
            turned=service.turned,
        )
        start = time.perf_counter()
        for batch in source.batches():
            if batch.next_offsets:
                with metrics.timed("write"):
                    written = table.write(batch.values, batch.next_offsets)
                source.commit(batch.next_offsets)
                upkeep.wrote(written)
                metrics.count(written.pages)
                metrics.count(written.stale, "stale")
                metrics.chunks.inc(written.rows)
                metrics.bytes_out.inc(written.bytes)
            upkeep.turn()
        seconds = time.perf_counter() - start
    return Round(_batches(metrics), watch.calls, watch.seconds, seconds)


def _batches(metrics: Metrics) -> int:
    labels = {"stage": metrics.stage}
    return int(cast("Any", metrics.registry.get_sample_value("cirrostream_batch_records_count", labels)))


if __name__ == "__main__":
    raise SystemExit(main())
