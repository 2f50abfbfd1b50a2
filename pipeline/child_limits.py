"""Limits that a child process sets itself at its start: an end with its parent, and a bound on its memory."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

from pipeline.errors import Exit

_PR_SET_PDEATHSIG = 1


PARENT = "CIRROSTREAM_PARENT_PID"
"""Variable in which a parent tells its id to a child that takes long to start."""


def end_with_parent() -> None:
    """Has the kernel kill this process with the thread that started it, which lives as long as the parent.

    Linux alone has that. Elsewhere a child needs an alarm of its own, for a parent that was killed. One that has gone
    before this call is noticed where it has set `PARENT`.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.environ.get(PARENT, str(os.getppid())) != str(os.getppid()):
        os._exit(Exit.TRY_AGAIN)


def die_first() -> None:
    """Has the kernel kill this process before any other when memory is short; Linux alone has that."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def bound_memory(room: int) -> None:
    """Lets this process allocate so many bytes more than it has; then calls fail, or Rust aborts.

    Linux alone counts what is mapped for data, and says how much that is.
    """
    with suppress(OSError, ValueError):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        now = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (now + room, most))
