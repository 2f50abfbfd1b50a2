"""The stage's side of the process that chunks: starts it, asks it within a time limit, and says how it died.

Subprocess and msgpack, not multiprocessing: that would load the stage's own module into the child, Kafka clients
included, hand it the whole environment, and speak pickle (docs/decisions/0011-chunking-process.md).
"""

from __future__ import annotations

import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from consumers import chunk_protocol
from consumers.chunk_limits import START_SECONDS
from consumers.chunk_protocol import Answer, Failed, PageRecord, Ready, Task
from pipeline.child_environment import child_environment
from pipeline.errors import CirrostreamError, Exit, Fatal, TryAgain, UsageError
from pipeline.frames import frame, read_frame

END_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.25


class ProcessDied(Exception):
    """The process has ended, or was ended, before it answered; the message says how."""

    def __init__(self, how: str, *, timed_out: bool = False) -> None:
        super().__init__(how)
        self.timed_out = timed_out


class _Child(NamedTuple):
    process: subprocess.Popen[bytes]
    line: socket.socket


class ChunkProcess:
    """Starts the process when it is first needed, and another one when it has died. For one thread at a time."""

    def __init__(self, task: Task, stopping: threading.Event) -> None:
        self._task = chunk_protocol.encode(task)
        self._stopping = stopping
        self._child: _Child | None = None
        self.notice = ""
        """A notice for the operator about model and settings, once it has started."""

    def __enter__(self) -> ChunkProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._child is None else self._child.process.pid

    def start(self) -> None:
        """Makes sure that it runs. A death while it starts is no page's fault, so it is tried again.

        Raises:
            UsageError: model and settings do not go together.
            TryAgain: it has not started within `START_SECONDS`.
        """
        if self._child is not None and self._child.process.poll() is None:
            return
        deadline, pause = time.monotonic() + START_SECONDS, FIRST_PAUSE_SECONDS
        while True:
            try:
                self._start(deadline)
            except ProcessDied as died:
                if time.monotonic() + pause > deadline or self._stopping.wait(pause):
                    raise TryAgain(f"the process that chunks does not start: it {died}") from None
                pause *= 2
            else:
                return

    def ask(self, records: Sequence[PageRecord], seconds: float) -> Answer:
        """The outcome of these records.

        Raises:
            ProcessDied: it ended over them, or was ended because it took longer than `seconds`.
            CirrostreamError: the stage must not go on, or the process does not start.
        """
        self.start()
        reply = self._exchange(chunk_protocol.encode(records), time.monotonic() + seconds)
        if isinstance(reply, Answer):
            return reply
        raise _error_of(reply)

    def _start(self, deadline: float) -> None:
        self._end()
        ours, theirs = socket.socketpair()
        with theirs:
            process = _popen(theirs)
        self._child = _Child(process, ours)
        reply = self._exchange(self._task, deadline)
        if not isinstance(reply, Ready):
            raise _error_of(reply)
        self.notice = reply.notice

    def _exchange(self, message: bytes, deadline: float) -> Ready | Failed | Answer:
        assert self._child is not None  # noqa: S101 - for the type checker; `start` made it
        line, started = self._child.line, time.monotonic()
        try:
            line.settimeout(_left(deadline))
            line.sendall(frame(message))
            reply = read_frame(line.fileno(), _until(deadline))
        except TimeoutError:
            self._end(kill=True)
            raise ProcessDied(f"took longer than {time.monotonic() - started:.0f} s", timed_out=True) from None
        except ConnectionError:
            reply = None
        if reply is None:
            raise ProcessDied(_ending(self._end()))
        return chunk_protocol.decode_reply(reply)

    def _end(self, *, kill: bool = False) -> int:
        """Ends the process; the exit code is its own, if it has ended or does so now that nobody asks."""
        child, self._child = self._child, None
        if child is None:
            return Exit.DONE
        child.line.close()
        try:
            return child.process.wait(0 if kill else END_SECONDS)
        except subprocess.TimeoutExpired:
            child.process.kill()
            return child.process.wait()


def _popen(line: socket.socket) -> subprocess.Popen[bytes]:
    """The process. It ignores signals that a terminal or a supervisor sends to all: the stage ends it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # a child keeps what is blocked
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "consumers.chunk_child"], stdin=line.fileno(), env=child_environment()
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _left(deadline: float) -> float:
    return max(0.001, deadline - time.monotonic())


def _until(deadline: float) -> Callable[[int], None]:
    def wait(descriptor: int) -> None:
        if not select.select([descriptor], [], [], _left(deadline))[0]:
            raise TimeoutError

    return wait


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    return f"was killed by {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"was killed by {-code}"


def _error_of(reply: Ready | Failed | Answer) -> CirrostreamError:
    if not isinstance(reply, Failed):
        return Fatal("the process that chunks gave an answer to another question")
    kinds: dict[int, type[CirrostreamError]] = {Exit.USAGE: UsageError, Exit.TRY_AGAIN: TryAgain}
    return kinds.get(reply.exit_code, Fatal)(reply.message)
