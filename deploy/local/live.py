"""What the operator sees while a run goes on: a table on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.live import Live
from rich.table import Table

from deploy.local.estimate import Estimate
from deploy.local.supervisor import Replica
from deploy.local.watch import StageView, Watcher
from pipeline.lag.rates import Rate, eta, per_second
from pipeline.status.rows import NAMES, pages_words, stage_words
from pipeline.terminal import Console, say

LINE_SECONDS = 5.0


class Screen(Protocol):
    """Shows how a run stands; called several times a second."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def show(self, replicas: list[Replica], watcher: Watcher) -> None: ...

    def say(self, line: str) -> None: ...


def screen(estimate: Estimate | None) -> Screen:
    """The screen that fits where stderr goes."""
    return Board(Console(stderr=True), estimate) if sys.stderr.isatty() else Lines(sys.stderr, estimate)


class Lines:
    """A plain line every 5 s, and one for every event."""

    def __init__(self, out: TextIO, estimate: Estimate | None = None) -> None:
        self._out = out
        self._estimate = estimate
        self._shown_at = time.monotonic()
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, replicas: list[Replica], watcher: Watcher) -> None:
        now = time.monotonic()
        if now - self._shown_at < LINE_SECONDS:
            return
        self._shown_at = now
        parts = [pages_words(watcher.view.produced)]
        for stage, view in watcher.view.stages.items():
            parts.append(stage_words(stage, view.done, view.rate, view.lag, view.eta_s))
        line = " | ".join(filter(None, (*parts, watcher.note, watcher.view.trouble)))
        if line != self._last:
            self.say(line)
        self._last = line

    def say(self, line: str) -> None:
        say(line, file=self._out)


class Board:
    """A live table: a row for each stage, and one below it for each replica."""

    def __init__(self, console: Console, estimate: Estimate | None) -> None:
        self._console = console
        self._estimate = estimate
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._rates: dict[int, Rate] = {}
        self._shown_at = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, replicas: list[Replica], watcher: Watcher) -> None:
        if time.monotonic() - self._shown_at < 0.25:
            return
        self._shown_at = time.monotonic()
        table = Table(expand=False, caption=watcher.view.trouble or watcher.note or None, caption_justify="left")
        for name in ("stage", "done", "rate", "lag", "ETA", "state"):
            table.add_column(name, justify="left" if name in ("stage", "state") else "right")
        stages = list(dict.fromkeys(replica.plan.stage for replica in replicas))
        for stage in stages:
            table.add_row(*self._stage_row(stage, watcher), style="bold")
            for replica in replicas:
                if replica.plan.stage == stage:
                    table.add_row(*self._replica_row(replica, watcher))
        self._live.update(table)

    def say(self, line: str) -> None:
        self._console.print(line)

    def _stage_row(self, stage: str, watcher: Watcher) -> tuple[str, ...]:
        view = watcher.view.stages.get(stage)
        if view is not None:
            return NAMES[stage], f"{view.done:,}", per_second(view.rate), f"{view.lag:,}", eta(view.eta_s), ""
        produced, rate = watcher.view.produced, watcher.view.produced_rate
        if self._estimate is None or watcher.reading_is_over.is_set():
            return NAMES[stage], f"{produced:,}", per_second(rate), "", "", ""
        left = max(0, self._estimate.pages - produced)
        reading = StageView(stage, produced, left, rate)
        return NAMES[stage], f"{produced:,}", per_second(rate), f"~{left:,}", eta(reading.eta_s), ""

    def _replica_row(self, replica: Replica, watcher: Watcher) -> tuple[str, ...]:
        reading = watcher.totals.last(replica.pid)
        state = replica.state + (f", restarted {replica.restarts}×" if replica.restarts else "")
        if reading is None or replica.pid is None:
            return f"  {replica.plan.name}", "", "", "", "", state
        rate = self._rates.setdefault(replica.pid, Rate()).take(reading.records, time.monotonic())
        partitions = "" if reading.assigned is None else f", {reading.assigned} partitions"
        return f"  {replica.plan.name}", f"{reading.records:,.0f}", per_second(rate), "", "", state + partitions
