"""Readiness of the table for searches, which the sink tells: its indexes, columns and measurements are there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.outcome import Outcome
from pipeline.announcements import announced
from pipeline.status.scrape import ask

LOOK_S = 1.0
LOOKS = 2
"""In a row that must say so: the first may be from before the last merge was noted."""

NOT_READY = (
    "the table has not all its indexes and measurements yet ({}): searches may take longer or find less; sinks.lance "
    "goes on with them whenever it runs"
)


def table_is_ready(announce_dir: Path) -> bool | None:
    """The sink's answer now; None: it gives none."""
    addresses = [process.address for process in announced(announce_dir) if process.service == "lance"]
    told = [reading.search_ready for reading in ask(addresses).values() if reading.search_ready is not None]
    return all(told) if told else None


@dataclass(slots=True)
class Readiness:
    """Waits, a turn at a time, until the table is ready or the time for that is over.

    Args:
        seconds: the longest wait; 0: none.
        look: asks the sink.
    """

    seconds: float
    look: Callable[[], bool | None]
    clock: Callable[[], float] = time.monotonic
    timed_out: bool = False
    _began: float | None = None
    _looked_at: float = field(default=float("-inf"))
    _in_a_row: int = 0

    def turn(self) -> bool:
        """True when there is nothing more to wait for. To be called often; asks once a second."""
        now = self.clock()
        if self._began is None:
            self._began = now
        if self.seconds <= 0 or self._in_a_row >= LOOKS:
            return True
        if now - self._began >= self.seconds:
            self.timed_out = True
            return True
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            self._in_a_row = self._in_a_row + 1 if self.look() else 0
        return self._in_a_row >= LOOKS

    @property
    def says(self) -> str:
        """The state of the wait, for the screen; empty while nobody waits."""
        if self._began is None:
            return ""
        waited = self.clock() - self._began
        return f"making the table ready for search, {waited:.0f} s of {self.seconds:.0f} at most"


def final(outcome: Outcome, stored: Outcome | None, ready: Readiness) -> tuple[Outcome, str]:
    """The outcome of the run, and the warning that goes with it, "" for none.

    Args:
        outcome: what ended the run or the wait.
        stored: the outcome when all pages were in the table: it stays, though a stage fails or somebody stops the
            wait; None: they are not in.
    """
    if stored is None:
        return outcome, ""
    if outcome.kind in ("failed", "stopped"):
        return stored, NOT_READY.format(outcome.problem or "the wait was stopped")
    return outcome, NOT_READY.format(f"after {ready.seconds:.0f} s, --ready-seconds") if ready.timed_out else ""
