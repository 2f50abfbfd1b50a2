"""Long work is shown while it goes on, and what is done goes."""

from __future__ import annotations

import io

import pytest
import structlog

from pipeline import bars
from pipeline.bars import Bar, Bars, Lines
from pipeline.terminal import Console


class Work:
    def __init__(self, **names: int) -> None:
        self._names = names

    def bars(self) -> dict[str, Bar]:
        return {**{name: Bar(name, done, 100) for name, done in self._names.items()}, "": Bar("all", 1, None, "a note")}

    def lines(self) -> dict[str, dict[str, object]]:
        return {"working": {"done": sum(self._names.values())}, "resting": {}}


def shown(*moments: Work) -> str:
    """The bars at the last of these moments."""
    screen = io.StringIO()
    with Bars(Console(file=screen, width=200, force_terminal=True)) as display:
        for moment in moments:
            display.show(moment)
        screen.truncate(screen.seek(0))
    return screen.getvalue()


def test_a_bar_is_there_as_long_as_its_work_is_under_way() -> None:
    first = shown(Work(one=10, two=20))
    assert all(word in first for word in ("one", "two", "all", "a note", "10/100 bytes", "20/100 bytes"))
    later = shown(Work(one=10, two=20), Work(two=60, three=0))
    assert "one" not in later
    assert all(word in later for word in ("two", "three", "60/100 bytes"))


def test_a_log_has_lines_every_few_seconds_and_not_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(bars.time, "monotonic", lambda: now)
    with structlog.testing.capture_logs() as said, Lines(structlog.get_logger()) as display:
        for second in range(12):
            now = float(second)
            display.show(Work(one=second))
    assert [(line["event"], line.get("done")) for line in said] == [
        ("working", 5),
        ("resting", None),
        ("working", 10),
        ("resting", None),
    ]
