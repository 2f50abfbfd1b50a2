"""A child process that ends with its parent, and takes along whatever it started itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")
GUARD_S = 5.0
"""How long the guard may take to kill its group: it only needs to be scheduled."""


class Child:
    """One running command in a process group of its own, with its output in a file.

    It dies with this process, however this process dies (see `die_with_parent.py`). Trap: a fork of this process
    without exec inherits the write end of the pipe and keeps the child alive; subprocess closes it, `os.fork` does not.

    Args:
        command: program and arguments; no shell.
        log: where stdout and stderr are appended.
        environment: the whole environment; None for this process' own.
        keep: file descriptors the child holds open as long as it lives (a lock, for one).
        folder: where it runs; None: where this process does.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        keep: Sequence[int] = (),
        folder: Path | None = None,
    ) -> None:
        self.command = list(command)
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        read_end, self._lifeline = os.pipe()
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(  # noqa: S603 - no shell, our own command line
                    [sys.executable, "-I", "-S", str(DIE_WITH_PARENT), str(read_end), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=environment,
                    cwd=folder,
                    pass_fds=(read_end, *keep),
                    start_new_session=True,  # the terminal's Ctrl-C is for the parent, who stops us in order
                )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(read_end)

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code once it has ended (negative: the signal that killed it); what it left behind is killed then."""
        code = self._process.poll()
        if code is not None:
            self._cut()
        return code

    def wait(self, timeout_s: float) -> int:
        """The exit code; raises subprocess.TimeoutExpired."""
        code = self._process.wait(timeout_s)
        self._cut()
        return code

    def terminate(self) -> None:
        """Asks it to end (SIGTERM), it alone: what it started is its own to stop."""
        if self.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> int:
        """Ends it and all it started, now."""
        self._cut()
        try:
            return self._process.wait(GUARD_S)
        except subprocess.TimeoutExpired:  # somebody killed the guard
            self._process.kill()
            return self._process.wait()

    def stop(self, patience_s: float) -> int:
        """Asks it to end, and ends it when it has not after `patience_s`."""
        self.terminate()
        try:
            return self.wait(patience_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def _cut(self) -> None:
        """Lets go of the guard, which then kills its own group: from outside, the group's id might be another's
        by now."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
