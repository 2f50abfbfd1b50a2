"""How a run ends, and with which exit code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local.outcome import Outcome, outcome_of
from deploy.local.supervisor import Plan, Supervisor
from pipeline.errors import Exit, Fatal
from pipeline.status.kafka_watcher import KafkaView


@dataclass
class EndedProcess:
    """Has ended with a code before anybody looks."""

    code: int | None
    pid: int = 1

    def poll(self) -> int | None:
        return self.code

    def terminate(self) -> None: ...

    def kill(self) -> int:
        return -9


def after(folder: Path, *, reader: int | None = 0, worker: int | None = None) -> Supervisor:
    """A supervisor whose reader and worker have ended with these codes; None: they run."""
    plans = [Plan("produce", 0, [], {}, folder / "produce.log", endless=False), Plan("embed", 0, [], {}, folder / "e")]
    codes = {"produce": reader, "embed": worker}
    supervisor = Supervisor(plans, lambda plan: EndedProcess(codes[plan.stage]))
    supervisor.turn()
    supervisor.turn()
    return supervisor


@pytest.mark.parametrize("complete", [True, False])
def test_a_run_is_complete_when_nothing_is_left_not_when_reading_is_over(tmp_path: Path, complete: bool) -> None:
    found = outcome_of(after(tmp_path), KafkaView(done=complete), stopped=False, follow=False)
    assert found == (Outcome("complete", 0) if complete else None)


def test_a_damaged_source_fails_the_run_only_when_its_neighbours_are_through(tmp_path: Path) -> None:
    supervisor = after(tmp_path, reader=Exit.CHECK_FAILED)
    (tmp_path / "produce.log").write_text("error: x.bz2 is cut off\n")
    assert outcome_of(supervisor, KafkaView(done=False), stopped=False, follow=False) is None
    found = outcome_of(supervisor, KafkaView(done=True), stopped=False, follow=False)
    assert found is not None
    assert (found.kind, found.exit_code) == ("incomplete", 1)
    assert "x.bz2 is cut off" in found.problem


def test_a_stage_that_was_given_up_fails_the_run(tmp_path: Path) -> None:
    found = outcome_of(after(tmp_path, worker=Exit.USAGE), KafkaView(done=True), stopped=False, follow=False)
    assert found is not None
    assert (found.kind, found.exit_code) == ("failed", 1)
    assert found.problem.startswith("embed-0 ended with code 2")


def test_what_kafka_refuses_fails_the_run(tmp_path: Path) -> None:
    found = outcome_of(after(tmp_path), KafkaView(trouble=Fatal("no such topic")), stopped=False, follow=False)
    assert found == Outcome("failed", 1, "no such topic")


def test_ctrl_c_is_the_normal_end_of_following_and_an_interruption_of_anything_else(tmp_path: Path) -> None:
    view = KafkaView(done=True)
    assert outcome_of(after(tmp_path), view, stopped=False, follow=True) is None
    assert outcome_of(after(tmp_path), view, stopped=True, follow=True) == Outcome("stopped", 0)
    assert outcome_of(after(tmp_path), KafkaView(), stopped=True, follow=False) == Outcome("stopped", 130)
