"""Time that can be cut short: who waits for a server waits for minutes, and must end within a second when told to."""

from __future__ import annotations

import threading
import time

from pipeline.errors import Stopped


class StopClock:
    """The time, and waits that `stop` ends, or whoever else sets `stopped`.

    A test gives its own, in which nothing takes time.
    """

    def __init__(self, stopped: threading.Event | None = None) -> None:
        self._stopped = stopped or threading.Event()

    def now(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def today(self) -> float:
        """Seconds since 1970, for dates that a server names."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Waits. Raises Stopped as soon as the clock is stopped."""
        self._stopped.wait(seconds)
        self.check()

    def check(self) -> None:
        if self._stopped.is_set():
            raise Stopped

    def stop(self) -> None:
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()
