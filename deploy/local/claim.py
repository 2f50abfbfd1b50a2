"""One folder, one owner: a lock that the kernel lets go of when the last process that holds it is gone."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UsageError


class Claimed(UsageError):
    """Somebody else holds the claim."""


class Claim:
    """An exclusive lock on a file that also says who holds it.

    Trap: the pid in the file means nothing by itself, it may be a dead owner's; only together with the lock it
    does. A child that was given `fileno()` goes on holding the lock, which is wanted: a broker's folder is free
    when the broker is gone, not when the process is that started it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _pid_in(self._fd)
            os.close(self._fd)
            raise Claimed(
                f"{path.parent} is in use by process {owner or '?'}: stop it with `python -m deploy.local stop`, "
                "or choose another --data-dir"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def fileno(self) -> int:
        return self._fd

    def release(self) -> None:
        """Lets go; the file stays, as a removed one could be locked by two at once."""
        os.close(self._fd)


def owner_of(path: Path) -> int | None:
    """The process that holds the claim, or None when nobody does."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(fd)
    finally:
        os.close(fd)
    return None


@contextmanager
def claimed(path: Path, patience_s: float = 0.0) -> Iterator[Claim]:
    """Holds the claim for a block; `patience_s` lets a dying owner's last child go first."""
    claim = claim_within(path, patience_s)
    try:
        yield claim
    finally:
        claim.release()


def claim_within(path: Path, patience_s: float) -> Claim:
    """The claim, waited for at most so long; raises Claimed."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return Claim(path)
        except Claimed:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.05)


def _pid_in(fd: int) -> int | None:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else None
