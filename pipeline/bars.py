"""Progress of long work for its operator: bars on a terminal, lines of the log every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from rich.progress import TaskID

from pipeline.terminal import Console, byte_bars

LINE_SECONDS = 5.0


class Bar(NamedTuple):
    """One thing under way, in bytes."""

    name: str
    done: int
    size: int | None
    note: str = ""
    """To stand behind its bytes."""


class Standing(Protocol):
    """Work as it stands at one moment."""

    def bars(self) -> Mapping[str, Bar]:
        """The bars under way, by keys that stay the same; the last is all of it."""
        ...

    def lines(self) -> Mapping[str, Mapping[str, object]]:
        """The same for a log: event -> its values."""
        ...


class Display(Protocol):
    """Shows work while it goes on."""

    def show(self, standing: Standing) -> None: ...

    def __enter__(self) -> Display: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


def open_display(log: Any) -> Display:
    """Bars where stderr is a terminal, else lines of this log."""
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal else Lines(log)


class Bars:
    """A bar for each thing under way; it goes when the thing is done."""

    def __init__(self, console: Console) -> None:
        self._bars = byte_bars(console)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, standing: Standing) -> None:
        bars = standing.bars()
        for key in self._tasks.keys() - bars.keys():
            self._bars.remove_task(self._tasks.pop(key))
        for key, bar in bars.items():
            if key not in self._tasks:
                self._tasks[key] = self._bars.add_task(bar.name, total=bar.size, note=bar.note)
            task = self._tasks[key]
            self._bars.update(task, description=bar.name, completed=bar.done, total=bar.size, note=bar.note)


class Lines:
    """Structured lines every 5 s."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._shown_at = time.monotonic()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, standing: Standing) -> None:
        if time.monotonic() - self._shown_at < LINE_SECONDS:
            return
        self._shown_at = time.monotonic()
        for event, values in standing.lines().items():
            self._log.info(event, **values)
