"""Children that cannot outlive their parent."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deploy.local.child import Child
from tests.waiting import wait_until

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]

FAMILY = """
import subprocess, sys, time
inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(inner.pid, flush=True)
time.sleep(600)
"""

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"

SUPERVISOR = """
import sys, time
from pathlib import Path
from deploy.local.policy import RestartPolicy
from deploy.local.supervisor import Plan, Supervisor
from deploy.local.child import Child
import os

folder = Path(sys.argv[1])
plans = [Plan("embed", n, [sys.executable, "-c", sys.argv[2]], dict(os.environ), folder / f"{n}.log") for n in range(2)]
supervisor = Supervisor(plans, lambda plan: Child(plan.command, plan.log, plan.environment))
while True:
    supervisor.turn()
    time.sleep(0.05)
"""


def first_number(log: Path) -> int:
    """The process id that a child has written into its log."""
    wait_until(lambda: log.exists() and log.read_text().endswith("\n"), f"{log.name} has a line")
    return int(log.read_text())


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_kill_9_of_a_supervisor_leaves_no_child_and_no_childs_child(tmp_path: Path) -> None:
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(tmp_path), FAMILY])
    inner = [first_number(tmp_path / f"{n}.log") for n in range(2)]
    family = psutil.Process(supervisor.pid).children(recursive=True)
    assert len(family) == 6, "two children, the guard of each, and what each has started"
    assert set(inner) <= {process.pid for process in family}
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait(60)
    wait_until(lambda: all(is_gone(process.pid) for process in family), "all of them are gone")


def test_its_exit_code_and_its_death_are_the_commands_own(tmp_path: Path) -> None:
    assert Child([sys.executable, "-c", "raise SystemExit(75)"], tmp_path / "log").wait(60) == 75
    child = Child(SLEEP, tmp_path / "log")
    psutil.Process(child.pid).send_signal(signal.SIGSEGV)
    assert child.wait(60) == -signal.SIGSEGV


def test_what_a_dead_child_has_left_behind_is_killed(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", FAMILY], tmp_path / "log")
    inner = first_number(tmp_path / "log")
    psutil.Process(child.pid).kill()
    assert child.wait(60) == -signal.SIGKILL
    wait_until(lambda: is_gone(inner), "its child is gone too")


def test_a_child_that_does_not_hear_sigterm_is_killed(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", DEAF], tmp_path / "log")
    wait_until((tmp_path / "log").read_text, "it ignores SIGTERM")
    assert child.stop(0.3) == -signal.SIGKILL


def test_a_killed_guard_keeps_nobody_alive(tmp_path: Path) -> None:
    child = Child(SLEEP, tmp_path / "log")
    wait_until(psutil.Process(child.pid).children, "there is a guard")
    psutil.Process(child.pid).children()[0].kill()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deploy.local.child.GUARD_S", 0.3)
        assert child.kill() == -signal.SIGKILL


def test_a_command_that_does_not_exist_is_an_end_not_an_exception(tmp_path: Path) -> None:
    child = Child(["/nowhere/program"], tmp_path / "log")
    assert child.wait(60) != 0
    assert "/nowhere/program" in (tmp_path / "log").read_text()
