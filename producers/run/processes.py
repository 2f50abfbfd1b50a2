"""Processes that read shards, at most so many at once: their jobs and reports, and the run's side of them.

A job goes in, reports come out, one JSON line each. JSON over pipes instead of multiprocessing's pickles: the child
begins as a fresh interpreter, so nothing of the parent's Kafka clients and threads leaks into it, and the pipe's end
tells it at once when the parent was killed.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from pipeline.errors import Exit
from producers.account import Ledger
from producers.run.progress import Progress

STOP = b"stop\n"
"""The one thing that the parent says after the job."""


class ShardJob(msgspec.Struct, frozen=True, kw_only=True):
    """One shard to read, from `start` on."""

    path: str
    key: str
    start: Progress
    settings: str
    """The parent's settings as JSON: flags count in the child as well."""
    baseline: str = ""
    """Folder with what `pages` held of the wiki before this snapshot; empty: every page is sent."""
    sent: str = ""
    """Folder with what earlier runs sent of the wiki after they last wrote down their progress; empty: nothing."""
    found: str = ""
    """Folder for what the gate finds out for the run; empty: nobody asks."""
    limit: int | None = None
    """Stop when the shard's ledger, over all runs, says so many pages."""


State = Literal["waiting", "reading", "finished", "limited", "stopped", "failed", "skipped"]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The standing of a shard. The last report of a process has a state other than `reading`."""

    state: State
    ledger: Ledger
    """While reading: what was handed to Kafka; in the last report: what was acknowledged."""
    bytes_read: int
    """Of the file as it is on disk."""
    bytes_sent: int = 0
    """Of messages that Kafka has acknowledged in this job."""
    bytes_in_flight: int = 0
    """Of those that it has not yet; 0 in the last report."""
    bytes_in_flight_limit: int = 0
    producer_rebuilds: int = 0
    error: str = ""
    exit_code: int = Exit.DONE
    peak_memory_bytes: int = 0


def peak_memory_bytes(status: Path = Path("/proc/self/status")) -> int:
    """Peak resident memory of this process; 0 where the system has no /proc.

    Not getrusage: on Linux its maximum survives exec, so a child would report its parent's.
    """
    try:
        lines = status.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


STOP_SECONDS = 8.5
"""A stopped child has so long; then it is killed, which costs what it has not written down."""

_ROOT = Path(__file__).resolve().parents[2]


class Event(NamedTuple):
    """A word of a shard's process; no report when it has ended without a last one."""

    key: str
    report: Report | None
    exit_code: int = Exit.DONE


class _Worker:
    """One process, which reads one shard after the other, and the thread that listens to it."""

    def __init__(self, source: str, events: queue.Queue[Event]) -> None:
        self.key = ""
        """Of the shard being read; empty: none is."""
        self._killed = False
        # A session of its own: Ctrl-C is for the parent, who lets the children finish what is in flight.
        self._process = subprocess.Popen(  # noqa: S603 - the name of a source is ours
            [sys.executable, "-m", "producers.run.worker", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))},
        )
        threading.Thread(target=self._listen, args=(events,), name="shard", daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def give(self, job: ShardJob) -> None:
        self.key = job.key
        self._say(msgspec.json.encode(job) + b"\n")

    def stop(self) -> None:
        self._say(STOP)

    def kill(self) -> None:
        self._killed = True
        self._process.kill()

    def _say(self, data: bytes) -> None:
        stdin = self._process.stdin
        if stdin is not None:
            with contextlib.suppress(BrokenPipeError, ValueError):  # it is dead; its end is reported by the listener
                stdin.write(data)
                stdin.flush()

    def _listen(self, events: queue.Queue[Event]) -> None:
        for line in self._process.stdout or ():
            with contextlib.suppress(msgspec.DecodeError):  # a line cut off by its death
                report = msgspec.json.decode(line, type=Report)
                events.put(Event(self.key, report))
                if report.state != "reading":
                    key, self.key = self.key, ""
                    events.put(Event(key, None))
        code = self._process.wait()
        if self.key:
            events.put(Event(self.key, None, Exit.DONE if self._killed else code or Exit.FATAL))


NextJob = Callable[[], ShardJob | None]
"""The next job; None when there is none now."""


class ShardProcesses:
    """Runs jobs of one source, in their order, in at most `at_once` processes, of which the first starts now.

    A job is asked for when there is room for it, so that it may depend on what those before it reported.
    """

    def __init__(self, source: str, at_once: int) -> None:
        self._source = source
        self._running: dict[str, _Worker] = {}
        self._at_once = at_once
        self._events: queue.Queue[Event] = queue.Queue()
        self._stop_by: float | None = None
        # It imports what it needs, for half a second, while the parent finds out what there is to do.
        self._idle = [_Worker(source, self._events)]

    def __enter__(self) -> ShardProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in (*self._running.values(), *self._idle):
            worker.kill()

    def events(
        self, next_job: NextJob, exhausted: Callable[[], bool], tick_seconds: float = 0.25
    ) -> Iterator[Event | None]:
        """All that the processes say until all jobs have ended; None when none said anything for a while."""
        self._start_more(next_job)
        while self._running or (self._stop_by is None and not exhausted()):
            self._kill_late()
            event: Event | None
            try:
                event = self._events.get(timeout=tick_seconds)
            except queue.Empty:
                event = None
            if event is not None and event.report is None:
                self._idle.append(self._running.pop(event.key))
            yield event
            self._start_more(next_job)

    @property
    def running(self) -> bool:
        """True while any process is."""
        return bool(self._running)

    def stop(self) -> None:
        """Starts no more, and lets those that run write down what is acknowledged."""
        if self._stop_by is None:
            self._stop_by = time.monotonic() + STOP_SECONDS
            for worker in self._running.values():
                worker.stop()

    def _start_more(self, next_job: NextJob) -> None:
        while self._stop_by is None and len(self._running) < self._at_once and (job := next_job()) is not None:
            self._idle = [worker for worker in self._idle if worker.alive]
            worker = self._running[job.key] = self._idle.pop() if self._idle else _Worker(self._source, self._events)
            worker.give(job)

    def _kill_late(self) -> None:
        if self._stop_by is not None and time.monotonic() > self._stop_by:
            for worker in self._running.values():
                worker.kill()
