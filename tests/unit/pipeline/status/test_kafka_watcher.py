"""The thread that looks at Kafka: how often, and what a partition without a leader or a fault of its own means."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import Fatal, TryAgain
from pipeline.lag.backlog import Backlog, Step
from pipeline.lag.view import GroupLag, LagView, PartitionLag
from pipeline.offsets import TopicLog
from pipeline.status import kafka_watcher
from pipeline.status.completion import Completion
from pipeline.status.kafka_watcher import END_LOOK_S, KafkaView, KafkaWatcher

CHUNK = Step("chunk", "pages", "chunk.m")
CLUSTER: Any = SimpleNamespace(close=lambda: None, bootstrap="127.0.0.1:9092")


class Looks(threading.Event):
    """Ends the thread after so many looks, without waiting; remembers how long it would have waited."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._left = looks
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        self._left -= 1
        if not self._left:
            self.set()
        return self.is_set()


def watched(
    monkeypatch: pytest.MonkeyPatch, see: Callable[[], LagView], looks: int = 1, completion: Completion | None = None
) -> tuple[KafkaWatcher, Looks]:
    """A thread that has ended after so many looks."""
    monkeypatch.setattr(kafka_watcher, "topic_logs", lambda *_: {})
    look, ended = KafkaWatcher(CLUSTER, [CHUNK], "letters", completion), Looks(looks)
    monkeypatch.setattr(look._observer, "look", lambda *_: see())
    look._ended = ended
    look.run()
    return look, ended


def seen(committed: int, *, leaderless: bool = False) -> LagView:
    partition = PartitionLag(0, committed, 5 - committed, None, 0.0)
    log = TopicLog("id", {0: 0}, {0: 5}, leaderless)
    backlog = Backlog(CHUNK, {0: committed}, log)
    return LagView(0.0, (GroupLag(CHUNK, 1, (partition,), None),), {"pages": log}, {CHUNK: backlog})


def test_kafka_is_asked_once_a_second_and_more_often_only_when_a_run_waits_for_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for completion in (None, Completion([CHUNK], idle_s=60)):
        _, ended = watched(monkeypatch, lambda: seen(3), 5, completion)
        assert min(ended.waits) > 0.8
    look, _ = watched(monkeypatch, lambda: seen(3))
    look.await_end()
    assert look._look_s == END_LOOK_S < 1


def test_the_end_of_a_run_is_judged_by_looks_from_after_its_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_meanwhile() -> LagView:
        if not looks:
            look.await_end()
        looks.append(1)
        return seen(5)

    looks: list[int] = []
    look = KafkaWatcher(CLUSTER, [CHUNK], "letters")
    monkeypatch.setattr(kafka_watcher, "topic_logs", lambda *_: {})
    monkeypatch.setattr(look._observer, "look", lambda *_: read_meanwhile())
    assert not look._look().done, "its ends may be from before the last record"
    assert look._look().done


def test_nothing_is_complete_while_a_partition_has_no_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = watched(monkeypatch, lambda: seen(5), completion=Completion([CHUNK]))
    part, _ = watched(monkeypatch, lambda: seen(5, leaderless=True), completion=Completion([CHUNK]))
    assert (whole.view.done, part.view.done) == (True, False)


def test_a_fault_of_its_own_is_told_and_the_looks_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([ZeroDivisionError("oh"), TryAgain("away")])

    def fail() -> LagView:
        raise next(answers, None) or StopIteration

    look, ended = watched(monkeypatch, fail)
    assert isinstance(look.view.fatal, Fatal)
    assert "ZeroDivisionError: oh (a bug" in str(look.view.fatal)
    look._ended = Looks(1)
    look.run()
    assert isinstance(look.view.trouble, TryAgain)
    assert look.view.fatal is None, "another try may help"
    assert len(ended.waits) == 1


def test_a_topic_that_is_gone_is_fatal_for_a_run() -> None:
    assert str(KafkaView(missing=("chunks.m",)).fatal) == "topic chunks.m: there is no such topic"
