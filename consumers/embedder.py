"""Turns chunked pages into embedded pages: all chunks of many pages, packed by length, through the model.

One bad page never costs its neighbours: a batch that fails is halved until the page that fails stands alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from consumers.devices import MemoryTaken, choose_device
from consumers.encoder import DTYPES, Encoder, loading
from consumers.packing import ElasticBudget, Ids, TokenBudget, pack
from consumers.passes import Passes, Pause, Vectors
from consumers.precision import Probe, fastest_precise
from consumers.stats import Stats
from pipeline.errors import Fatal
from pipeline.model_files import ModelFiles
from pipeline.records import ChunkedPage, EmbeddedPage, Span
from pipeline.rejected import Rejected
from pipeline.settings import DType
from pipeline.version import version

BUDGETS = {"cpu": TokenBudget(4_096, 256), "mps": TokenBudget(16_384, 512), "cuda": TokenBudget(65_536, 2_048)}
"""Padded tokens and rows of one pass. On a CPU the process then peaks at 1.2 GB (MiniLM); a GPU wants to be full."""

LOAD_SECONDS = 1_800.0
"""Longest that `Embedder.load` may take: reading 15 GB from a slow disk, and the probe of three precisions."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The result for the pages given: those with vectors, in the order given, and the positions of the others."""

    pages: list[EmbeddedPage]
    failed: list[tuple[int, Rejected]]


@dataclass
class Embedder:
    """A model that is ready to embed; made by `load`. Not for several threads at once."""

    encoder: Encoder
    budget: ElasticBudget
    dimension: int
    max_tokens: int
    vector_type: Literal["f4", "f2"] = "f4"
    probes: tuple[Probe, ...] = ()
    """The measurements of `dtype="auto"`, for the log; empty for an explicit dtype."""
    stats: Stats = field(default_factory=Stats)
    pause: Pause = time.sleep

    @classmethod
    def load(
        cls,
        files: ModelFiles,
        *,
        device: str = "auto",
        dtype: DType = "auto",
        budget: TokenBudget | None = None,
        threads: int | None = None,
        vector_type: Literal["f4", "f2"] = "f4",
    ) -> Embedder:
        """Loads the model and puts one row through it.

        `threads` is for CPUs: several embedders on one machine fight unless each takes its share of the cores.

        Raises:
            UsageError: no such device, or a model that cannot be loaded.
            TryAgain: there is no memory for it, or the device broke.
            Fatal: the model's vectors do not have the dimension that its files promise.
        """
        if threads:
            torch.set_num_threads(threads)
        where = choose_device(device)
        probes: tuple[Probe, ...] = ()
        with loading(files, where):
            if dtype == "auto":
                encoder, probes = fastest_precise(files, where)
            else:
                encoder = Encoder.load(files, where, DTYPES[dtype])
            dimension = int(encoder.encode([encoder.framed(np.asarray([encoder.vocabulary // 2]))]).shape[1])
        if files.dimension not in (None, dimension):
            raise Fatal(f"{files.name} gives vectors of {dimension} dimensions, its files say {files.dimension}")
        elastic = ElasticBudget(budget or BUDGETS[where.type])
        return cls(encoder, elastic, dimension, files.max_tokens, vector_type, probes)

    @property
    def device(self) -> str:
        """`cpu`, `cuda:0`, …"""
        return str(self.encoder.device)

    @property
    def device_name(self) -> str:
        """The device's name in the records: the GPU's name, else `device`."""
        if self.encoder.device.type == "cuda":
            return torch.cuda.get_device_name(self.encoder.device)
        return self.device

    @property
    def gpu_uuids(self) -> tuple[str, ...]:
        """The GPU's name for life, as NVIDIA's driver says it; none on another device."""
        if self.encoder.device.type != "cuda":
            return ()
        return (f"GPU-{torch.cuda.get_device_properties(self.encoder.device).uuid}",)

    @property
    def dtype(self) -> str:
        """`float32`, `bfloat16` or `float16`."""
        return str(self.encoder.dtype).removeprefix("torch.")

    def embed(self, pages: Sequence[ChunkedPage], between: Callable[[], None] = lambda: None) -> Embedded:
        """Vectors for every chunk of every page; deleted pages and pages without chunks pass through.

        `between` is called before each pass of the device: a 5 MB page takes minutes on a CPU, and the caller must be
        able to show a sign of life, or to give up by raising. The content of a page raises nothing: that page is in
        `failed` with its reason, the others have their vectors.

        Raises:
            DeviceBroke: the device computes no more (a CUDA context does not recover); a restart may help.
            MemoryTaken: there is no memory for what fitted before, on the device or on this machine.
            Fatal: the model fails on every text.
        """
        try:
            return self._embed(pages, between)
        except MemoryError as error:
            raise MemoryTaken(f"this machine has no memory for a batch of {len(pages)} pages") from error

    def _embed(self, pages: Sequence[ChunkedPage], between: Callable[[], None]) -> Embedded:
        start = time.perf_counter()
        failed: dict[int, Rejected] = {}
        rows: list[Ids] = []
        place: dict[int, int] = {}
        for index, page in enumerate(pages):
            ids = self._ids(page)
            if isinstance(ids, Rejected):
                failed[index] = ids
            else:
                place[index] = len(rows)
                rows += ids
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
        groups = pack(lengths, self.budget.now)
        self.stats.pack_seconds += time.perf_counter() - start
        passes = Passes(self.encoder, self.budget, self.stats, rows, lengths, between, self.pause)
        vectors, rejected = passes.run(groups, self.dimension)
        embedded = []
        at = int(time.time() * 1000)
        for index, page in enumerate(pages):
            if index in failed:
                continue
            span = range(place[index], place[index] + len(page.chunks))
            failure = next((rejected[row] for row in span if row in rejected), None)
            failure = failure or _not_finite(page, vectors[span.start : span.stop])
            if failure:
                failed[index] = failure
            else:
                embedded.append(self._record(page, vectors[span.start : span.stop], at))
        return Embedded(embedded, sorted(failed.items(), key=lambda item: item[0]))

    def take_stats(self) -> Stats:
        """The work since the last call."""
        stats, self.stats = self.stats, Stats()
        return stats

    def _ids(self, page: ChunkedPage) -> list[Ids] | Rejected:
        kind = np.dtype(f"<u{page.id_bytes}")
        rows = []
        for chunk in page.chunks:
            where = f"{page.key}#{chunk.number}"
            if len(chunk.ids) == 0 or len(chunk.ids) % page.id_bytes:
                return Rejected("bad_token_ids", f"{where}: {len(chunk.ids)} bytes are not {kind} token ids")
            ids = np.frombuffer(chunk.ids, dtype=kind).astype(np.int64)
            if len(ids) > self.max_tokens:
                return Rejected(
                    "too_many_tokens", f"{where}: {len(ids)} tokens, the model takes {self.max_tokens} at most"
                )
            if ids.max() >= self.encoder.vocabulary:
                return Rejected(
                    "bad_token_ids", f"{where}: token id {ids.max()}, the model knows {self.encoder.vocabulary} ids"
                )
            rows.append(ids)
        return rows

    def _record(self, page: ChunkedPage, vectors: Vectors, at: int) -> EmbeddedPage:
        return EmbeddedPage(
            key=page.key,
            source=page.source,
            page=page.page,
            spans=tuple(Span(chunk.number, chunk.start, chunk.end) for chunk in page.chunks),
            dimension=self.dimension,
            vector_type=self.vector_type,
            vectors=vectors.astype(f"<{self.vector_type}").tobytes(),
            device=self.device_name,
            dtype=self.dtype,
            embedded_at=at,
            cirrostream=version(),
        )


def _not_finite(page: ChunkedPage, vectors: Vectors) -> Rejected | None:
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if not len(bad):
        return None
    return Rejected("not_finite", f"{page.key}#{page.chunks[bad[0]].number}: the model's output is not finite")
