"""The end of a run waits for the table's indexes and measurements, and not for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.local import run as local
from deploy.local.outcome import Outcome
from deploy.local.readiness import Readiness, final, table_is_ready
from deploy.local.run_settings import RunSettings
from pipeline.status.readings import parse


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


COMPLETE = Outcome("complete", 0)


@pytest.mark.parametrize(
    ("outcome", "stored", "timed_out", "kept", "says"),
    [
        (COMPLETE, COMPLETE, False, COMPLETE, ""),
        (COMPLETE, COMPLETE, True, COMPLETE, "(after 60 s, --ready-seconds)"),
        (Outcome("stopped", 130), COMPLETE, False, COMPLETE, "(the wait was stopped)"),
        (Outcome("failed", 1, "lance-0 ended"), Outcome("incomplete", 1), False, Outcome("incomplete", 1), "(lance-0 "),
        (Outcome("stopped", 130), None, False, Outcome("stopped", 130), ""),
    ],
)
def test_pages_that_are_all_in_stay_so_whatever_ends_the_wait(
    outcome: Outcome, stored: Outcome | None, timed_out: bool, kept: Outcome, says: str
) -> None:
    found, warning = final(outcome, stored, Readiness(60, lambda: None, timed_out=timed_out))
    assert found == kept
    assert says in warning
    assert bool(says) is bool(warning)


def test_a_run_that_is_stopped_while_it_waits_for_the_table_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = iter([COMPLETE, COMPLETE, Outcome("stopped", 130)])
    monkeypatch.setattr(local, "outcome_of", lambda *_, **__: next(outcomes))
    bare: Any = SimpleNamespace(
        supervisor=SimpleNamespace(reading_is_over=False), watcher=SimpleNamespace(view=None, note="")
    )
    none: Any = None
    run = local.Run(RunSettings(), none, none, none, none, threading.Event(), None)
    ready = Readiness(300, lambda: False)
    assert run._ended(bare, lambda: False, ready) is None
    assert run.stored is None
    assert run._ended(bare, lambda: True, ready) is None
    assert bare.watcher.note
    ended = run._ended(bare, lambda: True, ready)
    assert ended is not None
    assert final(ended, run.stored, ready)[0] == COMPLETE


def test_no_sink_says_nothing(tmp_path: Path) -> None:
    assert table_is_ready(tmp_path) is None


@pytest.mark.parametrize(("line", "told"), [("1", True), ("0", False)])
def test_the_sinks_metrics_tell_it(line: str, told: bool) -> None:
    assert parse(f'cirrostream_search_ready{{stage="lance"}} {line}\n').search_ready is told
    assert parse('cirrostream_ready{stage="lance"} 1\n').search_ready is None
