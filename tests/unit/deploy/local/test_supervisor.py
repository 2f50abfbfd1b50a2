"""The supervisor, with processes that do what the test says and a clock that stands still until told."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.local.policy import RestartPolicy, RestartRules
from deploy.local.supervisor import Plan, Supervisor, failure_line, last_error
from pipeline.errors import Exit


@dataclass
class ScriptedProcess:
    """Runs until it is given a code; ends at SIGTERM unless it is `deaf`."""

    pid: int
    code: int | None = None
    deaf: bool = False
    asked: int = 0
    killed: bool = False

    def poll(self) -> int | None:
        return self.code

    def terminate(self) -> None:
        self.asked += 1
        if not self.deaf:
            self.code = Exit.DONE

    def kill(self) -> int:
        self.killed, self.code = True, -signal.SIGKILL
        return self.code


@dataclass
class World:
    """A supervisor, all processes it has started, and the time."""

    plans: list[Plan]
    now: float = 0.0
    started: list[tuple[str, ScriptedProcess]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rules = RestartRules(most=3, first_s=1.0)
        self.supervisor = Supervisor(
            self.plans,
            self.spawn,
            policy=lambda plan: RestartPolicy(rules, endless=plan.endless, jitter=lambda: 1.0),
            clock=lambda: self.now,
        )

    def spawn(self, plan: Plan) -> ScriptedProcess:
        process = ScriptedProcess(pid=len(self.started) + 1)
        self.started.append((plan.name, process))
        return process

    def newest(self, name: str) -> ScriptedProcess:
        return [process for started, process in self.started if started == name][-1]

    def end(self, name: str, code: int) -> None:
        self.newest(name).code = code
        self.supervisor.turn()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.supervisor.turn()


@pytest.fixture
def world(tmp_path: Path) -> World:
    def plan(stage: str, number: int, *, endless: bool = True) -> Plan:
        return Plan(stage, number, ["true"], {}, tmp_path / f"{stage}-{number}.log", endless)

    made = World([plan("produce", 0, endless=False), plan("embed", 0), plan("embed", 1)])
    made.supervisor.turn()
    return made


def test_all_replicas_start_at_once(world: World) -> None:
    assert [name for name, _ in world.started] == ["produce", "embed-0", "embed-1"]


def test_a_killed_replica_comes_back_after_its_pause_and_the_others_go_on(world: World) -> None:
    world.end("embed-0", -signal.SIGKILL)
    world.wait(0.9)
    assert len(world.started) == 3
    world.wait(0.2)
    assert [name for name, _ in world.started[3:]] == ["embed-0"]
    assert [replica.restarts for replica in world.supervisor.replicas] == [0, 1, 0]
    assert world.supervisor.failed is None


def test_a_replica_that_dies_too_often_fails_the_run_and_says_why(world: World) -> None:
    log = world.plans[1].log
    log.write_text('{"event": "started"}\nerror: no Kafka answers at 127.0.0.1:1\n{"event": "stopped"}\n')
    for _ in range(4):
        world.end("embed-0", Exit.TRY_AGAIN)
        world.wait(20.0)
    failed = world.supervisor.failed
    assert failed is not None
    assert failure_line(failed) == (
        f"embed-0 ended with code 75 after 4 starts: no Kafka answers at 127.0.0.1:1 (log: {log})"
    )


def test_a_wrong_setting_ends_the_run_at_once(world: World) -> None:
    world.end("embed-1", Exit.USAGE)
    assert world.supervisor.failed is world.supervisor.replicas[2]
    world.wait(100.0)
    assert len(world.started) == 3, "it is not started again"


def test_reading_is_over_when_the_reader_has_finished_not_when_it_is_killed(world: World) -> None:
    world.end("produce", -signal.SIGKILL)
    assert not world.supervisor.reading_is_over
    world.wait(2.0)
    world.end("produce", Exit.DONE)
    assert world.supervisor.reading_is_over


def test_a_reader_that_misses_something_is_remembered(world: World) -> None:
    world.end("produce", Exit.CHECK_FAILED)
    assert world.supervisor.reading_is_over
    assert world.supervisor.incomplete is world.supervisor.replicas[0]
    assert world.supervisor.failed is None


def test_a_stop_asks_first_and_kills_only_who_does_not_hear(world: World) -> None:
    world.newest("embed-1").deaf = True
    late = world.supervisor.stop(10.0, tick=lambda: world.wait(1.0))
    assert [replica.plan.name for replica in late] == ["embed-1"]
    assert [process.killed for _, process in world.started] == [False, False, True]
    assert [process.asked for _, process in world.started] == [1, 1, 1]
    assert 10.0 <= world.now < 12.0


def test_nothing_is_started_once_it_stops(world: World) -> None:
    world.end("embed-0", -signal.SIGKILL)
    world.supervisor.stop(10.0, tick=lambda: world.wait(1.0))
    world.wait(100.0)
    assert len(world.started) == 3


def test_the_last_error_of_a_log_is_found_above_what_came_after_it(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("fine\nerror: first\nerror: disk full\nTraceback (most recent call last):\n  File x\nbye\n")
    assert last_error(log) == "disk full"
    log.write_text("fine\nbye\n")
    assert last_error(log) == "bye"
    assert last_error(tmp_path / "none.log") == ""
