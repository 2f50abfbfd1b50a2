"""The watchdog of the chunk stage: when it ends the process, and with which line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from aiokafka.errors import GroupAuthorizationFailedError
from kafka.errors import KafkaConnectionError

from consumers.chunk_watchdog import Watchdog
from pipeline.errors import Exit, Fatal, TryAgain
from pipeline.offsets import TopicLog

LIMIT = 0.2


class Ended(BaseException):
    """Stands for the end of the process."""


class Process:
    """A service whose end can be looked at."""

    def __init__(self) -> None:
        self.settings = SimpleNamespace(watchdog_seconds=LIMIT)
        self.stopping = threading.Event()
        self.said = ""
        self.code: Exit | None = None

    def die(self, message: str, code: Exit = Exit.TRY_AGAIN) -> NoReturn:
        self.said, self.code = message, code
        raise Ended


class Kafka:
    """Answers what it is told to."""

    bootstrap = "localhost:1"

    def __init__(self, committed: Callable[[], dict[int, int]]) -> None:
        self._committed = committed

    def committed(self, group: str, topic: str) -> dict[int, int]:
        return self._committed()

    def log(self, topic: str) -> TopicLog:
        return TopicLog("id", {0: 0}, {0: 5})


def watchdog(process: Process, committed: Callable[[], dict[int, int]], may_take: float = 0.0) -> Watchdog:
    app = SimpleNamespace(consumer=SimpleNamespace())
    app.consumer.assignment = lambda: [SimpleNamespace(partition=0)]
    stage: Any = (process, Kafka(committed), app, SimpleNamespace(may_take=may_take))
    return Watchdog(*stage, topic="pages", group="chunk")


def raising(error: Exception) -> Callable[[], dict[int, int]]:
    def ask() -> dict[int, int]:
        raise error

    return ask


def end_of(process: Process, dog: Watchdog) -> tuple[str, Exit | None]:
    """What the process says when the watchdog ends it."""
    with pytest.raises(Ended):
        dog._watch()
    return process.said, process.code


@pytest.mark.parametrize(
    "error", [TryAgain("no answer"), OSError("reset"), KafkaConnectionError("closed"), ValueError("bad frame")]
)
def test_whatever_keeps_it_from_seeing_ends_the_process_with_a_line(error: Exception) -> None:
    process = Process()
    said, code = end_of(process, watchdog(process, raising(error)))
    assert said.startswith("watchdog: ")
    assert str(error) in said
    assert code == Exit.TRY_AGAIN


def test_a_right_that_was_taken_away_is_fatal() -> None:
    process = Process()
    said, code = end_of(process, watchdog(process, raising(Fatal("not allowed"))))
    assert (said, code) == ("not allowed", Exit.FATAL)


def test_lag_without_a_commit_is_a_stall() -> None:
    process = Process()
    said, code = end_of(process, watchdog(process, lambda: {0: 1}))
    assert "lag, but nothing committed" in said
    assert code == Exit.TRY_AGAIN


def test_a_page_in_hand_has_the_time_that_it_may_take_before() -> None:
    process = Process()
    dog = watchdog(process, lambda: {0: 1}, may_take=3600)
    threading.Timer(4 * LIMIT, process.stopping.set).start()
    dog._watch()
    assert not process.said


def test_a_crash_of_faust_for_want_of_a_right_says_so() -> None:
    process = Process()
    error = watchdog(process, lambda: {0: 1}).explain(GroupAuthorizationFailedError("chunk"))
    assert error.exit_code == Exit.FATAL
    assert "lacks a right" in str(error)
