"""What the processes say of themselves: their /metrics, found through the files that they announce their address in."""

from __future__ import annotations

import http.client
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil
from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 1.0
LARGEST_ANSWER = 4 * 1024 * 1024


class Announced(msgspec.Struct, frozen=True):
    """A process' announcement, as `pipeline.service` writes it."""

    service: str
    pid: int
    address: str


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters of one process since its start."""

    stage: str
    pid: int
    records: float = 0
    chunks: float = 0
    tokens: float = 0
    assigned: int | None = None
    rows: float | None = None
    """Live rows in the table, from the sink alone."""


@dataclass(slots=True)
class Totals:
    """Sums over all processes of a run, dead ones with what they said last: a restarted process counts from 0 again."""

    _last: dict[int, Reading] = field(default_factory=dict)
    _peaks: dict[str, int] = field(default_factory=dict)

    def take(self, readings: Iterable[Reading]) -> None:
        for reading in readings:
            self._last[reading.pid] = reading

    def of(self, stage: str) -> Reading:
        """The stage's sum."""
        last = [reading for reading in self._last.values() if reading.stage == stage]
        return Reading(stage, 0, *(sum(getattr(r, name) for r in last) for name in ("records", "chunks", "tokens")))

    def last(self, pid: int | None) -> Reading | None:
        return self._last.get(pid) if pid is not None else None

    def weigh(self, stage: str, pid: int) -> None:
        """Notes the memory of a process with all its children; `peaks` keeps the largest of each stage, as sampled."""
        try:
            process = psutil.Process(pid)
            largest = max(p.memory_info().rss for p in (process, *process.children(recursive=True)))
        except psutil.Error:
            return
        self._peaks[stage] = max(largest, self._peaks.get(stage, 0))

    @property
    def peaks(self) -> dict[str, int]:
        """Resident bytes of a stage's largest process."""
        return dict(self._peaks)


def announced(folder: Path) -> list[Announced]:
    """All processes that say where they are; a file that is being removed or is none counts nothing."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Announced))
        except (OSError, msgspec.DecodeError):
            continue
    return found


def read(process: Announced) -> Reading | None:
    """The process' counters now, or None when it does not answer."""
    connection = http.client.HTTPConnection(process.address, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read(LARGEST_ANSWER).decode("utf-8", "replace")
        return _parsed(process, text)
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def _parsed(process: Announced, text: str) -> Reading:
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("event", "done") == "done":
                values[sample.name] = values.get(sample.name, 0.0) + sample.value
    assigned = values.get("cirrostream_assigned_partitions")
    return Reading(
        stage=process.service,
        pid=process.pid,
        records=values.get("cirrostream_records_total", 0),
        chunks=values.get("cirrostream_chunks_total", 0),
        tokens=values.get("cirrostream_tokens_total", 0),
        assigned=None if assigned is None else int(assigned),
        rows=values.get("cirrostream_table_rows"),
    )
