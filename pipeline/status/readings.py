"""Reads the /metrics of one process, as far as a view of the pipeline needs them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

FINISHED = frozenset({"done", "produced", "sent", "deleted"})
"""Events of `cirrostream_records_total` that are an item done; others (stale, changes) are only looked at."""
MOST_REASONS = 50
LONGEST_NAME = 60
PREFIX = "cirrostream_"
COUNTERS = ("records", "chunks", "tokens", "characters", "unknown_characters", "drops", "dead_letters")
GAUGES = (
    "assigned_partitions",
    "loop_idle_seconds",
    "ready",
    "table_rows",
    "search_ready",
    "gpu_memory_used_bytes",
    "gpu_memory_size_bytes",
    "gpu_utilization_ratio",
    "build_info",
    "group_rate",
)
SUMMED = ("records", "chunks", "tokens", "characters", "unknown_characters")
STARTED = "process_start_time_seconds"
WANTED = frozenset({f"{PREFIX}{name}_total" for name in COUNTERS} | {PREFIX + name for name in GAUGES} | {STARTED})


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as its process sees it; None: not told."""

    utilization: float | None
    """From 0 to 1."""
    memory_used: float | None
    memory_size: float | None


@dataclass(frozen=True, slots=True)
class Reading:
    """One process at one moment; counters are since its start, None is what it does not tell."""

    stage: str
    records: float = 0
    chunks: float = 0
    tokens: float = 0
    characters: float = 0
    """Of text, without white space, from the chunk stage alone."""
    unknown_characters: float = 0
    """Those of them that the model's vocabulary lacks."""
    assigned: int | None = None
    rows: float | None = None
    """Live rows in the table, from the sink alone."""
    ready: bool | None = None
    search_ready: bool | None = None
    """The table has its indexes and measurements, from the sink alone."""
    idle_s: float | None = None
    """Time since its loop last turned."""
    started: float | None = None
    """When the process began, in Unix time."""
    device: str = ""
    gpus: tuple[Gpu, ...] = ()
    drops: Mapping[str, float] = field(default_factory=dict)
    dead_letters: Mapping[str, float] = field(default_factory=dict)
    group_rates: Mapping[str, float] = field(default_factory=dict)
    """From the lag exporter alone: records a second of each group over 5 minutes."""


def total(stage: str, readings: Iterable[Reading]) -> Reading:
    """The sum of these processes' counters; what is no counter is not told."""
    found = list(readings)
    counted = {name: sum(getattr(reading, name) for reading in found) for name in SUMMED}
    drops, letters = (_merged(r.drops for r in found), _merged(r.dead_letters for r in found))
    return Reading(stage, **counted, drops=drops, dead_letters=letters)


def _merged(counts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    merged: dict[str, float] = {}
    for each in counts:
        for reason, number in each.items():
            merged[reason] = merged.get(reason, 0) + number
    return merged


def parse(text: str) -> Reading:
    """The reading in a process' /metrics.

    Only the lines that are wanted are parsed: a process has some hundred lines of histograms, and there may be 256
    processes to be asked every second. Whatever a label says is cut to what a terminal can show.

    Raises:
        ValueError: this is not Prometheus' text format.
    """
    lines = [line for line in text.splitlines() if line.partition("{")[0].partition(" ")[0] in WANTED]
    found = [
        sample
        for family in text_string_to_metric_families("\n".join(lines) + "\n")
        for sample in family.samples
        if math.isfinite(sample.value)
    ]
    value = {sample.name.removeprefix(PREFIX): sample.value for sample in found}
    told = value.get("search_ready")
    assigned, ready = value.get("assigned_partitions"), value.get("ready")
    return Reading(
        stage=next((_shown(sample.labels["stage"]) for sample in found if "stage" in sample.labels), ""),
        records=sum(s.value for s in _named(found, "records_total") if s.labels.get("event", "done") in FINISHED),
        chunks=sum(s.value for s in _named(found, "chunks_total")),
        tokens=sum(s.value for s in _named(found, "tokens_total")),
        characters=sum(s.value for s in _named(found, "characters_total")),
        unknown_characters=sum(s.value for s in _named(found, "unknown_characters_total")),
        assigned=None if assigned is None else int(assigned),
        rows=value.get("table_rows"),
        ready=None if ready is None else ready > 0,
        search_ready=None if told is None else told > 0,
        idle_s=value.get("loop_idle_seconds"),
        started=value.get(STARTED),
        device=next((_shown(s.labels.get("device", "")) for s in _named(found, "build_info")), ""),
        gpus=_gpus(found),
        drops=_by(found, "drops_total", "reason"),
        dead_letters=_by(found, "dead_letters_total", "reason"),
        group_rates=_by(found, "group_rate", "group"),
    )


def _named(found: Iterable[Sample], name: str) -> list[Sample]:
    return [sample for sample in found if sample.name == PREFIX + name]


def _by(found: Iterable[Sample], name: str, label: str) -> dict[str, float]:
    """Sums by a label's value; no more than `MOST_REASONS` of them."""
    sums: dict[str, float] = {}
    for sample in _named(found, name):
        key = _shown(sample.labels.get(label, ""))
        if key in sums or len(sums) < MOST_REASONS:
            sums[key] = sums.get(key, 0.0) + sample.value
    return {key: total for key, total in sums.items() if total}


def _gpus(found: list[Sample]) -> tuple[Gpu, ...]:
    by_metric = {name: _by_gpu(found, name) for name in GAUGES if name.startswith("gpu_")}
    names = sorted(set().union(*by_metric.values()))[:MOST_REASONS]
    return tuple(
        Gpu(
            by_metric["gpu_utilization_ratio"].get(name),
            by_metric["gpu_memory_used_bytes"].get(name),
            by_metric["gpu_memory_size_bytes"].get(name),
        )
        for name in names
    )


def _by_gpu(found: Iterable[Sample], name: str) -> dict[str, float]:
    return {sample.labels.get("gpu", ""): sample.value for sample in _named(found, name)}


def _shown(label: str) -> str:
    return "".join(c for c in label if c.isprintable())[:LONGEST_NAME]
