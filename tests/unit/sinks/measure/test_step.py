"""Upkeep's measuring: when it is due, what becomes of its process, and that nothing of it stops the writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from pipeline.child_limits import PARENT
from pipeline.errors import Exit, Replaced, TryAgain
from pipeline.metrics import Metrics
from pipeline.model_files import resolve
from sinks.fence import Fence
from sinks.measure.process import (
    LARGEST_OUTPUT,
    OVERTIME_SECONDS,
    MeasurementFailed,
    MeasureProcess,
    measure_environment,
)
from sinks.measure.rules import RULES
from sinks.measure.settings import MeasureSettings
from sinks.measure.step import MeasureRules, Measuring, Seen, reason_to_measure
from sinks.measured import LegWeights, Measured, Quality
from tests.waiting import wait_until

NOW = 1_700_000_000.0
READY = Seen(rows=100, idle=True, ready=True, vector_index=False)
MEASURED = Measured(
    at=datetime.fromtimestamp(NOW, UTC).isoformat(),
    rows=100,
    rules=RULES,
    weights={"de": LegWeights(vector=0.5)},
    recall=0.97,
    nprobes=20,
    refine=1,
    quality={"hybrid": Quality(questions=30, recall=0.9, ndcg=0.8)},
)


@dataclass
class FakeProcess:
    """A measurement that gives these answers, one a look."""

    answers: Iterator[Measured | MeasurementFailed | None]
    ended: bool = False

    def poll(self) -> Measured | None:
        answer = next(self.answers)
        if isinstance(answer, MeasurementFailed):
            raise answer
        return answer

    def end(self) -> None:
        self.ended = True


@dataclass
class FakeTable:
    """The fence, and what a merge raises."""

    fence: Fence = field(default_factory=lambda: Fence(model="m", dimension=4, vectors="v", pages=("p",)))
    raises: Exception | None = None

    def note(self, change: Callable[[Fence], Fence]) -> None:
        if self.raises is not None:
            raise self.raises
        self.fence = change(self.fence)


@dataclass
class Bench:
    """A measuring whose clocks and processes are the test's."""

    answers: list[list[Measured | MeasurementFailed | None]]
    now: float = 0.0
    wall: float = NOW
    processes: list[FakeProcess] = field(default_factory=list)
    metrics: Metrics = field(default_factory=lambda: Metrics("lance"))
    table: FakeTable = field(default_factory=FakeTable)
    measuring: Measuring = field(init=False)

    def __post_init__(self) -> None:
        self.measuring = Measuring(self.start, self.metrics, clock=lambda: self.now, wall=lambda: self.wall)

    def start(self) -> FakeProcess:
        self.processes.append(FakeProcess(iter(self.answers[len(self.processes)])))
        return self.processes[-1]

    def turns(self, seconds: float, seen: Seen = READY) -> None:
        """The loop's turns over this time, one a second."""
        for _ in range(round(seconds)):
            self.now += 1
            self.wall += 1
            if self.measuring.due(seen, self.table.fence.search):
                self.measuring.turn(self.table)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"cirrostream_{name}", {"stage": "lance", **labels})


def test_an_idle_table_is_measured_once_and_the_fence_has_it() -> None:
    bench = Bench([[None, None, MEASURED]])
    bench.turns(60)
    assert bench.table.fence.search == MEASURED
    assert len(bench.processes) == 1
    assert bench.value("measurements_total", event="done") == 1
    assert bench.value("search_index_recall_ratio") == 0.97
    assert bench.value("search_ndcg_ratio", search="hybrid") == 0.8
    assert bench.value("search_measured_timestamp_seconds") == NOW


def test_a_busy_table_and_one_without_its_indexes_are_measured_after_a_while_all_the_same() -> None:
    for seen in (replace(READY, idle=False), replace(READY, ready=False)):
        bench = Bench([[MEASURED]])
        bench.turns(800, seen)
        assert not bench.processes
        bench.turns(200, seen)
        assert bench.table.fence.search == MEASURED


@pytest.mark.parametrize(
    ("seen", "measured", "later", "reason"),
    [
        (READY, None, 0, "never measured"),
        (replace(READY, rows=0), None, 0, ""),
        (READY, MEASURED, 0, ""),
        (READY, MEASURED, 23.9 * 3600, ""),
        (READY, MEASURED, 24.1 * 3600, "old"),
        (READY, MEASURED, -48 * 3600, "old"),
        (READY, msgspec.structs.replace(MEASURED, at="yesterday"), 0, "old"),
        (READY, msgspec.structs.replace(MEASURED, rules="0.9"), 0, "by other rules"),
        (replace(READY, rows=124), MEASURED, 0, ""),
        (replace(READY, rows=125), MEASURED, 0, "grown"),
        (replace(READY, rows=200, idle=False), MEASURED, 0, ""),
        (replace(READY, rows=400, idle=False), MEASURED, 0, "grown"),
        (replace(READY, vector_index=True), MEASURED, 0, ""),
        (
            replace(READY, vector_index=True),
            msgspec.structs.replace(MEASURED, nprobes=None),
            0,
            "without its index",
        ),
    ],
)
def test_when_a_table_is_to_be_measured(seen: Seen, measured: Measured | None, later: float, reason: str) -> None:
    assert reason_to_measure(seen, measured, MeasureRules(), NOW + later) == reason


def test_a_failure_is_counted_and_tried_again_after_longer_and_longer_pauses() -> None:
    died = MeasurementFailed("died", "was killed by SIGKILL: it said nothing")
    bench = Bench([[died], [died], [MEASURED]])
    bench.turns(10)
    assert (len(bench.processes), bench.value("measurements_total", event="died")) == (1, 1)
    bench.turns(3500)
    assert len(bench.processes) == 1
    bench.turns(100)
    assert len(bench.processes) == 2
    bench.turns(7100)
    assert len(bench.processes) == 2
    bench.turns(200)
    assert bench.table.fence.search == MEASURED
    assert bench.value("measurements_total", event="timed_out") == 0


def test_rows_that_were_only_written_anew_are_no_growth() -> None:
    bench = Bench([[MEASURED]])
    twice = replace(READY, rows=200)
    assert bench.measuring.due(twice, MEASURED)
    bench.table.fence = msgspec.structs.replace(bench.table.fence, search=MEASURED)
    bench.measuring.turn(bench.table, 100)
    assert not bench.processes
    assert not bench.measuring.due(replace(READY, rows=100), MEASURED)
    assert bench.measuring.due(twice, MEASURED)
    bench.measuring.turn(bench.table, 125)
    assert len(bench.processes) == 1


def test_a_process_that_cannot_be_started_is_a_failure_and_no_more() -> None:
    def start() -> FakeProcess:
        raise OSError("no more processes")

    metrics = Metrics("lance")
    measuring = Measuring(start, metrics)
    assert measuring.due(READY, None)
    measuring.turn(FakeTable())
    assert not measuring.due(READY, None)
    assert metrics.registry.get_sample_value("cirrostream_measurements_total", {"stage": "lance", "event": "died"}) == 1


def test_a_result_that_cannot_be_noted_now_is_noted_later_and_not_measured_again() -> None:
    bench = Bench([[MEASURED]])
    bench.table.raises = TryAgain("8 merges came to nothing")
    with pytest.raises(TryAgain):
        bench.turns(10)
    bench.table.raises = None
    bench.turns(1)
    assert bench.table.fence.search == MEASURED
    assert len(bench.processes) == 1


def test_a_replaced_writer_notes_nothing() -> None:
    bench = Bench([[MEASURED]])
    bench.table.raises = Replaced("another writer has taken it over")
    with pytest.raises(Replaced):
        bench.turns(10)
    assert bench.table.fence.search is None


def test_switched_off_it_is_never_due_and_nothing_is_waited_for() -> None:
    measuring = Measuring(None, Metrics("lance"))
    assert not measuring.due(READY, None)
    assert measuring.settled(READY, None)


def test_a_table_has_settled_once_it_is_measured_or_has_failed_to_be() -> None:
    bench = Bench([[None, MEASURED]])
    assert not bench.measuring.settled(READY, None)
    bench.turns(2)
    assert not bench.measuring.settled(READY, None)
    bench.turns(10)
    assert bench.measuring.settled(READY, bench.table.fence.search)
    failing = Bench([[MeasurementFailed("died", "ended with code 70")]])
    failing.turns(5)
    assert failing.measuring.settled(READY, None)
    assert Bench([]).measuring.settled(replace(READY, rows=0), None)


def test_a_table_that_grew_has_not_settled_while_its_last_rows_have_just_come() -> None:
    measuring = Bench([]).measuring
    assert measuring.settled(replace(READY, rows=124, idle=False), MEASURED)
    assert not measuring.settled(replace(READY, rows=125, idle=False), MEASURED)


def test_the_process_ends_with_the_writer() -> None:
    bench = Bench([[None] * 9])
    bench.turns(3)
    bench.measuring.end()
    assert bench.processes[0].ended


def child(code: str, seconds: float = 60, **options: object) -> MeasureProcess:
    command = [sys.executable, "-c", code]
    return MeasureProcess(dict(os.environ), seconds, command=command, **options)  # type: ignore[arg-type]


def outcome(process: MeasureProcess) -> Measured:
    found: list[Measured] = []

    def ended() -> bool:
        answer = process.poll()
        if answer is not None:
            found.append(answer)
        return answer is not None

    wait_until(ended, "the process has ended")
    return found[0]


def test_a_process_that_answers_gives_its_measurement() -> None:
    text = msgspec.json.encode(MEASURED).decode()
    assert outcome(child(f"import sys; print('noise', file=sys.stderr); print({text!r})")) == MEASURED


@pytest.mark.parametrize(
    ("code", "why", "line"),
    [
        ("print('hello')", "unreadable", "gave no measurement"),
        ("", "unreadable", "gave no measurement"),
        ("print('{\"rows\": 1}')", "unreadable", "missing required field"),
        ("import sys; sys.stdout.buffer.write(bytes([255] * 100))", "unreadable", "gave no measurement"),
        ("import sys; sys.exit('error: no such table\\x1b[31m')", "died", "ended with code 1: error: no such table"),
        ("import os; os.kill(os.getpid(), 9)", "died", "was killed by SIGKILL: it said nothing"),
    ],
)
def test_a_process_without_an_answer_fails_with_a_line_that_says_why(code: str, why: str, line: str) -> None:
    with pytest.raises(MeasurementFailed, match=line) as failed:
        outcome(child(code))
    assert failed.value.why == why
    assert "\x1b" not in str(failed.value)


def test_a_process_that_hangs_is_ended_at_its_time_limit() -> None:
    now = 0.0
    process = child("import time; time.sleep(600)", clock=lambda: now)
    assert process.poll() is None
    now = 61 + OVERTIME_SECONDS
    with pytest.raises(MeasurementFailed, match="it took more than") as failed:
        process.poll()
    assert failed.value.why == "timed_out"
    assert gone(process.pid)


def test_a_process_that_writes_without_end_is_ended() -> None:
    process = child("import time\nwhile True: print('x' * 99_999, flush=True); time.sleep(0.001)")
    with pytest.raises(MeasurementFailed, match=f"more than {LARGEST_OUTPUT} bytes"):
        outcome(process)
    assert gone(process.pid)


def test_a_process_is_deaf_to_the_signals_that_a_terminal_sends_to_all() -> None:
    process = child("import signal, sys; sys.exit(str(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))))")
    with pytest.raises(MeasurementFailed, match=r"SIGINT.*SIGTERM"):
        outcome(process)
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_the_program_ends_at_once_when_its_parent_has_gone_before_it_was_ready() -> None:
    command = [sys.executable, "-m", "sinks.measure.child"]
    ended = subprocess.run(command, env={**os.environ, PARENT: "1"}, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (Exit.TRY_AGAIN, b"")


def test_the_program_says_in_a_line_why_it_cannot_measure(tmp_path: Path) -> None:
    environment = {**os.environ, "CIRROSTREAM_LANCE_URI": str(tmp_path / "none")}
    with pytest.raises(MeasurementFailed, match=r"ended with code 2: error: no table wikipedia in .*none"):
        outcome(MeasureProcess(environment, 60))


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_environment_has_the_writers_settings_and_none_of_kafkas_secrets() -> None:
    chosen = MeasureSettings(window_tokens=99, table="mine", measure_seconds=77)
    files = resolve(chosen, weights=False)
    given = {
        "KAFKA_SASL_PASSWORD": "hunter2",
        "AWS_SECRET_ACCESS_KEY": "of-the-bucket",
        "CIRROSTREAM_TABLE": "other",
        "PYTHONPATH": "/elsewhere",
    }
    made = measure_environment(chosen, files, given)
    assert "hunter2" not in made.values()
    assert made["AWS_SECRET_ACCESS_KEY"] == "of-the-bucket"
    assert (made["CIRROSTREAM_TABLE"], made["CIRROSTREAM_WINDOW_TOKENS"]) == ("mine", "99")
    assert made["CIRROSTREAM_MEASURE_SECONDS"] == "77.0"
    assert "CIRROSTREAM_REVISION" not in made
    assert made["PYTHONPATH"].startswith("/elsewhere:")
    assert made["OMP_NUM_THREADS"] == "1"
