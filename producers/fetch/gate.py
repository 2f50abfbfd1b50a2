"""At most two connections to a server, and silence when it asks for it.

This is the one state of ours that belongs to the process and not to an object: the server counts connections by the
address that they come from, whoever opened them here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

from producers.fetch.clock import StopClock

CONNECTIONS = 2
_LOOK_SECONDS = 0.2


class Gate:
    """One server's connections."""

    def __init__(self, connections: int = CONNECTIONS) -> None:
        self._free = threading.BoundedSemaphore(connections)
        self._rest_until = 0.0

    @contextlib.contextmanager
    def connection(self, clock: StopClock) -> Iterator[None]:
        """Held from before a connection is opened until after it is closed. Raises Stopped."""
        clock.check()
        while not self._free.acquire(timeout=_LOOK_SECONDS):
            clock.check()
        try:
            while (left := self._rest_until - clock.now()) > 0:
                clock.sleep(left)
            yield
        finally:
            self._free.release()

    def rest(self, seconds: float, clock: StopClock) -> None:
        """Opens no connection for so long: a server that says so to one request means all."""
        self._rest_until = max(self._rest_until, clock.now() + seconds)


_GATES: dict[str, Gate] = {}
_LOCK = threading.Lock()


def gate_of(address: str) -> Gate:
    """The gate of the server that this address is on."""
    parts = urlsplit(address)
    server = f"{parts.hostname}:{parts.port or parts.scheme}"
    with _LOCK:
        return _GATES.setdefault(server, Gate())
