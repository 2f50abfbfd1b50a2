"""Metrics that are read at the moment of the scrape: whatever is read, the scrape itself must not hang or fail."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pipeline.errors import one_line

WAIT_SECONDS = 1.0
"""Prometheus gives a scrape 10 s by default; ours need milliseconds unless a driver or a network disk hangs."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A gauge that is read at the scrape, with its labels besides `stage`."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """One value of a declared gauge."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


Read = Callable[[], Iterable[Measured]]


class AtScrape(Collector):
    """Declared gauges with the values that `read` gives. One that it does not give, or not in time, is absent.

    A `read` that hangs keeps its thread, and no other is started before it returns: NVML on a GPU that fell off its bus
    and `statvfs` on a network disk that is away may not come back at all.
    """

    def __init__(self, stage: str, declared: Sequence[Declared], read: Read, wait_s: float = WAIT_SECONDS) -> None:
        self._stage = stage
        self._declared = declared
        self._read = read
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._reading: _Reading | None = None

    def describe(self) -> Iterable[Metric]:
        return [GaugeMetricFamily(one.name, one.meaning, labels=("stage", *one.labels)) for one in self._declared]

    def collect(self) -> Iterable[Metric]:
        families = {family.name: family for family in self.describe()}
        for measured in self._answer():
            families[measured.name].add_metric((self._stage, *measured.labels), measured.value)  # type: ignore[attr-defined]
        return [family for family in families.values() if family.samples]

    def _answer(self) -> Sequence[Measured]:
        with self._lock:
            if self._reading is None or self._reading.done.is_set():
                self._reading = _Reading(self._read)
            reading = self._reading
        reading.done.wait(self._wait_s)
        return reading.answer


class _Reading:
    """One call, in a thread of its own."""

    def __init__(self, read: Read) -> None:
        self.done = threading.Event()
        self.answer: Sequence[Measured] = ()
        threading.Thread(target=self._run, args=(read,), name="scrape", daemon=True).start()

    def _run(self, read: Read) -> None:
        try:
            self.answer = tuple(read())
        except Exception as error:  # noqa: BLE001 - a scrape without one gauge is better than none
            structlog.get_logger().debug("a gauge cannot be read", error=one_line(error))
        finally:
            self.done.set()


class OfStage(Collector):
    """Another collector's metrics with our `stage` on them, so that a process' memory is found by its stage."""

    def __init__(self, stage: str, inner: Collector) -> None:
        self._stage = stage
        self._inner = inner

    def collect(self) -> Iterable[Metric]:
        for metric in self._inner.collect():
            metric.samples = [
                sample._replace(labels={**sample.labels, "stage": self._stage}) for sample in metric.samples
            ]
            yield metric


def disk(folder: Path) -> Iterable[Measured]:
    """Room on the file system of this folder, or of the next one above it that exists."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    usage = shutil.disk_usage(place)
    yield Measured("cirrostream_disk_free_bytes", usage.free)
    yield Measured("cirrostream_disk_size_bytes", usage.total)
