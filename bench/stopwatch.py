"""A stop-watch on the calls of a process' metrics: how many there were, and how long they took together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from prometheus_client import Counter

from pipeline.metrics import Metrics
from pipeline.metrics.series import StageGauge

CALLS = ("count", "drop", "dead_letter", "retry", "took", "batch", "device_batch", "build_info")


class Stopwatch:
    """Runs inside `with`; what is inside of that again is the same call. For one thread at a time."""

    def __init__(self) -> None:
        self.calls = 0
        self.seconds = 0.0
        self._depth = 0
        self._start = 0.0

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth == 1:
            self.calls += 1
            self._start = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._start

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, on the watch."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self:
                return call(*args, **kwargs)

        return timed


class _Series:
    """A counter or gauge on the watch."""

    def __init__(self, inner: Any, watch: Stopwatch) -> None:
        for name in ("inc", "set", "follow"):
            if hasattr(inner, name):
                setattr(self, name, watch.around(getattr(inner, name)))


def put_on(metrics: Metrics) -> Stopwatch:
    """A stop-watch on the calls that feed these metrics, from now on.

    Not on the two gauges of upkeep by step, which change a few times a minute.
    """
    watch = Stopwatch()
    timed = metrics.timed

    @contextmanager
    def both_ends(step: str) -> Iterator[None]:
        with watch:
            inner = timed(step)
            inner.__enter__()
        try:
            yield
        finally:
            with watch:
                inner.__exit__(None, None, None)

    for name, value in list(vars(metrics).items()):
        if isinstance(value, Counter | StageGauge):
            setattr(metrics, name, _Series(value, watch))
    for name in CALLS:
        setattr(metrics, name, watch.around(getattr(metrics, name)))
    setattr(metrics, "timed", both_ends)  # noqa: B010 - a method, for mypy
    return watch
