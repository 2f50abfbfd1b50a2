"""Messages between the run and the process of one shard: a job in, reports out, one JSON line each.

JSON over pipes instead of multiprocessing's pickles: the child begins as a fresh interpreter, so nothing of the
parent's Kafka clients and threads leaks into it, and the pipe's end tells it at once when the parent was killed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

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
    limit: int | None = None
    """Stop when the shard's ledger, over all runs, says so many pages."""


State = Literal["waiting", "reading", "finished", "limited", "stopped", "failed", "skipped"]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How a shard stands. The last report of a process has a state other than `reading`."""

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
