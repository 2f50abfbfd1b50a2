"""Looks again and again: for some seconds, or live on a terminal until all is complete."""

from __future__ import annotations

import time
from typing import Protocol

from rich.live import Live

from pipeline.lag.rates import eta
from pipeline.status.document import Status
from pipeline.status.rows import pages_words, stage_words
from pipeline.status.table import draw
from pipeline.terminal import Console

LOOK_S = 1.0
LINE_S = 5.0
OTHER_LINES = 16
"""Of a terminal's, that are not replicas'."""


class Looking(Protocol):
    """One look at everything, now."""

    def take(self) -> Status: ...


def once(look: Looking, for_s: float) -> Status:
    """The last of the looks in so many seconds: rates need two, and a busy replica may miss one."""
    began = time.monotonic()
    status = look.take()
    while (left := began + for_s - time.monotonic()) > 0:
        time.sleep(min(LOOK_S, left))
        status = look.take()
    return status


def watch(look: Looking, console: Console) -> Status:
    """Shows every look until all is complete; the last one stays on the terminal."""
    return _live(look, console) if console.is_terminal else _lines(look, console)


def _live(look: Looking, console: Console) -> Status:
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            began = time.monotonic()
            status = look.take()
            stages = max(1, len(status.stages))
            most = max(2, (console.height - OTHER_LINES) // stages)
            live.update(draw(status, console.width, most), refresh=True)
            if status.phase == "complete":
                return status
            time.sleep(max(0.0, began + LOOK_S - time.monotonic()))


def _lines(look: Looking, console: Console) -> Status:
    """A line every 5 s, for a log."""
    said_at = float("-inf")
    while True:
        began = time.monotonic()
        status = look.take()
        if status.phase == "complete":
            console.print(draw(status, console.width))
            return status
        if began - said_at >= LINE_S:
            said_at = began
            console.print(_line(status), soft_wrap=True)
        time.sleep(max(0.0, began + LOOK_S - time.monotonic()))


def _line(status: Status) -> str:
    words = []
    for stage in status.stages:
        if stage.stage == "produce" and stage.items is not None:
            words.append(pages_words(stage.items))
        if stage.lag is not None and stage.items is not None:
            rate = stage.pace.per_second if stage.pace is not None else 0.0
            words.append(stage_words(stage.stage, stage.items, rate, stage.lag, stage.eta_s))
        silent = len(stage.replicas) - stage.answering
        if silent:
            words.append(f"{stage.stage}: {silent} of {len(stage.replicas)} do not answer")
    return " | ".join([*words, f"ALL ETA {eta(status.eta_s)}", *status.trouble])
