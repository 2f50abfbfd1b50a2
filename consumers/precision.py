"""Chooses the precision of a model by measuring it on the device it is going to run on.

bf16 is worth 3.3x on a CPU with AMX, costs time on one without, and fp16 overflows in some models: no table says it, so
each start measures, in under three seconds for a small model.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from consumers.devices import Trouble, release_memory, trouble
from consumers.encoder import DTYPES, Encoder
from consumers.packing import Ids
from pipeline.errors import is_fault, one_line
from pipeline.model_files import ModelFiles

LEAST_COSINE = 0.999
"""The mean cosine to fp32 below which a precision is refused."""

LEAST_GAIN = 0.95
"""Another precision must take less than this share of fp32's time: below that, the gain is noise."""

PROBE_LENGTHS = (12, 48, 96, 232)
SECONDS_PER_DTYPE = 0.4

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of one precision on the probe."""

    dtype: str
    seconds: float
    """Of one pass over the probe, the fastest of the repetitions: processor time on a CPU, else wall time."""
    mean_cosine: float
    minimum_cosine: float
    problem: str = ""
    """Why it could not run at all."""

    @property
    def precise(self) -> bool:
        return not self.problem and self.mean_cosine >= LEAST_COSINE

    def __str__(self) -> str:
        if self.problem:
            return f"{self.dtype} cannot run ({self.problem})"
        return f"{self.dtype} {self.seconds * 1000:.0f} ms, cosine {self.mean_cosine:.5f}"


def fastest_precise(files: ModelFiles, device: torch.device) -> tuple[Encoder, tuple[Probe, ...]]:
    """The encoder in the fastest precision whose vectors keep a mean cosine of `LEAST_COSINE` to fp32's.

    Holds at most two precisions of the model in memory at once.
    """
    best = Encoder.load(files, device, DTYPES["fp32"])
    batches, exact, quickest = _baseline(best, files.max_tokens)
    probes = [quickest]
    for name in ("bf16", "fp16") if device.type == "cuda" else ("bf16",):
        probe, candidate = _try(files, device, name, batches, exact)
        probes.append(probe)
        if candidate is not None and probe.precise and probe.seconds < quickest.seconds * LEAST_GAIN:
            best, quickest = candidate, probe
        del candidate
        release_memory(device)
    return best, tuple(probes)


def _baseline(encoder: Encoder, longest: int) -> tuple[list[list[Ids]], Vectors, Probe]:
    """The probe, what fp32 makes of it, and how fast; with fewer rows where so many do not fit.

    A GPU gets so many rows at once that it is busy, else every precision takes the time of the launches.
    """
    rows = 256 if encoder.device.type == "cuda" else 2
    while True:
        batches = probe_batches(encoder, longest, rows)
        try:
            return batches, _vectors(encoder, batches), Probe("fp32", _fastest_pass(encoder, batches), 1.0, 1.0)
        except (RuntimeError, MemoryError) as error:
            if rows == 1 or trouble(error, encoder.device) is not Trouble.MEMORY:
                raise
        rows //= 2
        release_memory(encoder.device)


def probe_batches(encoder: Encoder, longest: int, rows: int) -> list[list[Ids]]:
    """Seeded random words of the model's own vocabulary, framed as the model's texts are; one batch a length."""
    random = np.random.default_rng(20260101)
    room = max(1, longest - sum(len(part) for part in encoder.frame))
    return [
        [encoder.framed(random.integers(0, encoder.vocabulary, min(length, room))) for _ in range(rows)]
        for length in PROBE_LENGTHS
    ]


def measured(encoder: Encoder, name: str, batches: list[list[Ids]], exact: Vectors) -> Probe:
    """The distance of this encoder's vectors from the exact ones, and their speed."""
    vectors = _vectors(encoder, batches)  # also warms up: kernels, allocator, oneDNN's reordered weights
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = (vectors * exact).sum(axis=1) / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(exact, axis=1))
    cosines = np.nan_to_num(cosines, nan=0.0)
    return Probe(name, _fastest_pass(encoder, batches), float(cosines.mean()), float(cosines.min()))


def _try(
    files: ModelFiles, device: torch.device, name: str, batches: list[list[Ids]], exact: Vectors
) -> tuple[Probe, Encoder | None]:
    try:
        encoder = Encoder.load(files, device, DTYPES[name])
        return measured(encoder, name, batches, exact), encoder
    except BaseException as error:
        if not is_fault(error):
            raise
        if trouble(error, device) is Trouble.DEVICE:
            raise
        problem = one_line(error)
    return Probe(name, float("inf"), 0.0, 0.0, problem), None


def _vectors(encoder: Encoder, batches: list[list[Ids]]) -> Vectors:
    outputs = [encoder.encode(batch) for batch in batches]
    return torch.cat(outputs).cpu().numpy()  # the copy waits for the device


def _fastest_pass(encoder: Encoder, batches: list[list[Ids]]) -> float:
    # All stages of a pipeline start together: on a CPU, wall time would measure the neighbours.
    clock = time.process_time if encoder.device.type == "cpu" else time.perf_counter
    fastest = float("inf")
    end = time.perf_counter() + SECONDS_PER_DTYPE
    while fastest == float("inf") or time.perf_counter() < end:
        start = clock()
        _vectors(encoder, batches)
        fastest = min(fastest, clock() - start)
    return fastest
