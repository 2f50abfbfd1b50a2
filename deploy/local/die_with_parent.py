"""Runs a command that cannot outlive the process that started it, not even when that one is killed with -9.

    python -I -S die_with_parent.py FD COMMAND…

FD is the read end of a pipe whose write end only the parent holds. This process forks a guard and becomes the
command (exec: same process id, so exit codes and signals are the command's own). The guard waits for the end of
the pipe, which the kernel brings about however the parent dies, and then kills the whole process group: the
command, whatever it started, and itself. `prctl(PR_SET_PDEATHSIG)` would be shorter, but it exists on Linux
alone, spares the command's own children, and fires when the *thread* that started the command ends.

Only the standard library, and little of it: this runs once for every child (15 ms, 8 MB).
"""

import os
import signal
import sys


def guard(lifeline: int) -> None:
    """Waits until nobody holds the other end of the pipe, then kills this process group."""
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    while os.read(lifeline, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Becomes the leader of a process group, forks the guard, and turns into the command."""
    lifeline, command = int(sys.argv[1]), sys.argv[2:]
    if os.getpgrp() != os.getpid():
        os.setsid()
    if os.fork() == 0:
        guard(lifeline)
    os.close(lifeline)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the command line is our own, no shell
    except OSError as error:
        sys.exit(f"error: {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
