"""Shows looks: the last of some seconds, or one after the other, as a live table or as lines of a log."""

from __future__ import annotations

import time
from typing import Protocol, Self

from rich.live import Live

from pipeline.addresses import without_secrets
from pipeline.status.document import Status
from pipeline.status.table import draw, line
from pipeline.terminal import Console

LOOK_S = 1.0
LINE_S = 5.0
OTHER_LINES = 17
"""Of a terminal's, that are not replicas'."""


class StatusSource(Protocol):
    """One look at everything, now."""

    def take(self) -> Status: ...


class Screen(Protocol):
    """Shows how it stands, and the news."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, status: Status, note: str = "") -> None: ...

    def say(self, text: str) -> None: ...


def screen(console: Console, *, keep: bool) -> Screen:
    """The screen that fits where the console writes; a live table is taken away at the end, unless it is to `keep`."""
    return Board(console, keep=keep) if console.is_terminal else Lines(console)


class Board:
    """A live table: a row for each stage, and one below it for each replica."""

    def __init__(self, console: Console, *, keep: bool) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=not keep, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, status: Status, note: str = "") -> None:
        most = max(2, (self._console.height - OTHER_LINES) // max(1, len(status.stages)))
        self._live.update(draw(status, self._console.width, most, note), refresh=True)

    def say(self, text: str) -> None:
        _say(self._console, text)


class Lines:
    """A plain line every 5 s where something has changed, and one for every piece of news."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown_at = float("-inf")
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, status: Status, note: str = "") -> None:
        now = time.monotonic()
        if now - self._shown_at < LINE_S:
            return
        self._shown_at = now
        shown = " | ".join(filter(None, (line(status), note)))
        if shown != self._last:
            self.say(shown)
        self._last = shown

    def say(self, text: str) -> None:
        _say(self._console, text)


def _say(console: Console, text: str) -> None:
    console.print(without_secrets(text), soft_wrap=True)


def once(look: StatusSource, for_s: float) -> Status:
    """The last of the looks in so many seconds: rates need two, and a busy replica may miss one."""
    began = time.monotonic()
    status = look.take()
    while (left := began + for_s - time.monotonic()) > 0:
        time.sleep(min(LOOK_S, left))
        status = look.take()
    return status


def watch(look: StatusSource, console: Console) -> Status:
    """Shows every look until all is complete; the last one stays on the terminal, and ends a log."""
    with screen(console, keep=True) as shown:
        while True:
            began = time.monotonic()
            status = look.take()
            complete = status.phase == "complete"
            if console.is_terminal or not complete:
                shown.show(status)
            if complete:
                break
            time.sleep(max(0.0, began + LOOK_S - time.monotonic()))
    if not console.is_terminal:
        console.print(draw(status, console.width))
    return status
