"""The time series of one metric in one process: its stage, and at most one more label, of few values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from prometheus_client import Counter, Gauge, Histogram

M = TypeVar("M", Counter, Gauge, Histogram)

MOST_VALUES = 100
"""Series that one metric may have in one process. Our own words are far fewer; a foreign server's error code that got
into a label must not fill anybody's Prometheus."""

OTHER = "other"


class ByValue(Generic[M]):
    """A metric's series by the value of its one label besides `stage`, kept: looking one up costs 2 microseconds."""

    def __init__(self, metric: M, stage: str) -> None:
        self._metric: M = metric
        self._stage = stage
        self._series: dict[str, M] = {}

    def __getitem__(self, value: str) -> M:
        """The series of this value; that of `other` once there are too many."""
        found = self._series.get(value)
        if found is None:
            kept = value if len(self._series) < MOST_VALUES else OTHER
            found = self._series[kept] = self._metric.labels(self._stage, kept)
        return found


class StageGauge:
    """A gauge that is absent until it is set: a process without a table must not say that it holds 0 rows."""

    def __init__(self, metric: Gauge, stage: str) -> None:
        self._metric = metric
        self._stage = stage
        self._series: Gauge | None = None

    def set(self, value: float) -> None:
        """Says this value from now on."""
        self._child().set(value)

    def follow(self, read: Callable[[], float]) -> None:
        """Says what `read` returns at each scrape, in the scraper's thread; it must neither block nor raise."""
        self._child().set_function(read)

    def _child(self) -> Gauge:
        if self._series is None:
            self._series = self._metric.labels(self._stage)
        return self._series
