"""The end of a run waits for the table's indexes and measurements, and not for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.readiness import Readiness, table_is_ready
from pipeline.readings import parse


def waited(seconds: float, answers: Iterator[bool | None]) -> tuple[Readiness, int]:
    """A run that looks every tenth of a second; how many seconds it waited."""
    now = 0.0
    ready = Readiness(seconds, lambda: next(answers), clock=lambda: now)
    while not ready.turn():
        now += 0.1
    return ready, round(now)


def always(answer: bool | None) -> Iterator[bool | None]:
    while True:
        yield answer


def test_a_table_must_be_ready_at_two_looks_in_a_row() -> None:
    ready, seconds = waited(300, iter([True, False, None, True, True]))
    assert (seconds, ready.timed_out) == (4, False)


@pytest.mark.parametrize("answer", [False, None])
def test_the_wait_has_an_end_which_is_told(answer: bool | None) -> None:
    ready, seconds = waited(20, always(answer))
    assert (seconds, ready.timed_out) == (20, True)


def test_without_a_wait_nobody_is_asked() -> None:
    ready, seconds = waited(0, iter(()))
    assert (seconds, ready.timed_out) == (0, False)


def test_the_screen_says_how_long_it_may_take() -> None:
    now = 0.0
    ready = Readiness(300, lambda: False, clock=lambda: now)
    assert ready.says == ""
    ready.turn()
    now = 12.0
    assert ready.says == "making the table ready for search, 12 s of 300 at most"


def test_no_sink_says_nothing(tmp_path: Path) -> None:
    assert table_is_ready(tmp_path) is None


@pytest.mark.parametrize(("line", "told"), [("1", True), ("0", False)])
def test_the_sinks_metrics_tell_it(line: str, told: bool) -> None:
    assert parse(f'cirrostream_search_ready{{stage="lance"}} {line}\n').search_ready is told
    assert parse('cirrostream_ready{stage="lance"} 1\n').search_ready is None
