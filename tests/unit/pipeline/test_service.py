"""The process frame, in processes of its own: what a supervisor and a prober see of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_until

FRAME = """
import sys, time
from pipeline.service import Service
from pipeline.settings import ServiceSettings
with Service("test", ServiceSettings()) as service:
    service.ready = True
    while not service.stopping.is_set():
        {turn}
        time.sleep(0.02)
"""

Start = Callable[..., "Process"]


class Process:
    def __init__(self, turn: str, folder: Path, **settings: object) -> None:
        self.folder = folder
        environment = {f"CIRROSTREAM_{key}".upper(): str(value) for key, value in settings.items()}
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(FRAME.format(turn=turn))],
            env={**os.environ, "CIRROSTREAM_METRICS_PORT": "0", **environment, "CIRROSTREAM_ANNOUNCE_DIR": str(folder)},
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def address(self) -> str:
        path = self.folder / f"test-{self.process.pid}.json"
        wait_until(path.exists, "the process announces its address")
        return str(json.loads(path.read_text())["address"])

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def value(self, name: str) -> float:
        """Of the one series of this name, which must be this stage's."""
        [line] = [line for line in self.get("/metrics")[1].splitlines() if line.startswith(f'{name}{{stage="test"}}')]
        return float(line.rpartition(" ")[2])

    def end(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def begin(turn: str = "service.turned()", **settings: object) -> Process:
        started.append(Process(turn, tmp_path / "run", **settings))
        return started[-1]

    yield begin
    for process in started:
        process.process.kill()
        process.process.wait()


def test_metrics_and_health_are_served_on_loopback(start: Start) -> None:
    process = start()
    assert process.address.startswith("127.0.0.1:")
    code, said = process.get("/metrics")
    assert code == 200
    assert "cirrostream_last_turn_timestamp_seconds" in said
    assert process.get("/healthz")[0] == 200
    assert process.get("/etc/passwd")[0] == 404


def test_the_age_of_a_loop_that_is_stuck_is_seen_before_the_watchdog_ends_it(start: Start) -> None:
    process = start(turn="pass", watchdog_seconds=60)
    wait_until(lambda: process.value("cirrostream_loop_idle_seconds") > 0.3, "the age of the loop grows")
    assert process.value("cirrostream_watchdog_limit_seconds") == 60
    assert process.value("cirrostream_ready") == 1
    turning = start()
    wait_until(lambda: process.value("cirrostream_loop_idle_seconds") > 1, "some time has passed")
    assert turning.value("cirrostream_loop_idle_seconds") < 1


def test_a_process_says_its_memory_its_disk_and_what_it_is(start: Start) -> None:
    process = start()
    assert process.value("process_resident_memory_bytes") > 1_000_000
    assert process.value("process_open_fds") > 0
    assert 0 < process.value("cirrostream_disk_free_bytes") <= process.value("cirrostream_disk_size_bytes")
    said = process.get("/metrics")[1]
    assert 'cirrostream_build_info{device="",dtype="",model="",stage="test",version="' in said
    assert "_created" not in said


def test_sigterm_ends_it_with_0_and_takes_the_announcement_away(start: Start) -> None:
    process = start()
    assert process.address
    process.process.send_signal(signal.SIGTERM)
    assert process.end()[0] == 0
    assert not list(process.folder.glob("*.json"))


def test_sigterm_ends_what_waits_for_ever_in_time_too_with_0_and_a_line(start: Start) -> None:
    waits = "service.metrics.assigned_partitions.set(7); time.sleep(600)"
    process = start(turn=f"import pipeline.service; pipeline.service.STOP_SECONDS = 0.5; {waits}")
    wait_until(lambda: process.value("cirrostream_assigned_partitions") == 7, "the loop waits for ever")
    process.process.send_signal(signal.SIGTERM)
    code, said = process.end()
    assert code == 0
    assert "stopped after 0.5 s with work in hand, uncommitted" in said
    assert not list(process.folder.glob("*.json"))


def test_a_loop_that_stops_turning_is_ended_with_75_and_one_line(start: Start) -> None:
    process = start(turn="pass", watchdog_seconds=0.5)
    code, said = process.end()
    assert code == 75
    assert "the loop has not turned" in said


def test_a_taken_port_means_the_next_free_one(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start(metrics_port=port)
        assert int(process.address.rpartition(":")[2]) > port


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere an address in use may be shared by listeners")
def test_a_process_started_again_gets_its_port_again(start: Start) -> None:
    """A probe's closed connection keeps the port in TIME_WAIT for a minute, in a restarted container too."""
    first = start(metrics_port=0)
    address = first.address
    assert first.get("/healthz/live")[0] == 200
    first.process.terminate()
    first.end()
    assert start(metrics_port=address.rpartition(":")[2]).address == address


def test_an_unwritable_place_for_announcements_is_said_in_words(start: Start, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    code, said = start().end()
    assert code != 0
    assert "cannot announce the metrics address" in said


def test_a_named_step_may_take_longer_than_the_watchdog_and_says_its_own_limit(start: Start) -> None:
    turn = """
        with service.step("a merge", 300):
            time.sleep(3.5)
            service.stopping.set()
    """
    process = start(turn=turn.strip(), watchdog_seconds=1)
    wait_until(lambda: process.value("cirrostream_loop_idle_seconds") > 1.2, "the step is longer than the watchdog")
    assert process.value("cirrostream_watchdog_limit_seconds") == 300
    assert process.get("/healthz/live")[0] == 200
    assert process.end()[0] == 0


def test_a_step_that_overruns_its_own_limit_is_ended_with_75_and_a_line_that_names_it(start: Start) -> None:
    turn = """
        with service.step("loading the model m", 0.5):
            time.sleep(600)
    """
    process = start(turn=turn.strip())
    code, said = process.end()
    assert code == 75
    assert "watchdog: loading the model m: not done after " in said
    assert "the loop has not turned" not in said


def test_a_call_that_never_gives_back_the_interpreters_lock_is_ended_by_the_kernel(start: Start) -> None:
    turn = "__import__('ctypes').PyDLL(None).pause()"
    assert start(turn=turn, watchdog_seconds=2).end()[0] == -signal.SIGALRM


def test_the_innermost_step_counts_and_a_turn_begins_its_time_anew(start: Start) -> None:
    turn = """
        with service.step("outer", 0.5):
            with service.step("inner", 300):
                time.sleep(1.5)
            for _ in range(30):
                time.sleep(0.05)
                service.turned()
            time.sleep(600)
    """
    code, said = start(turn=turn.strip()).end()
    assert code == 75
    assert "watchdog: outer: not done after " in said
