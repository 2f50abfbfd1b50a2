"""A thread that waits for a server's events, so that the loop goes on turning, and stops when it is told.

It is a daemon: a process that ends does not wait for a server.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


class Inlet(Generic[T]):
    """Takes what an iterator gives, as it comes; when too much of it waits, the iterator does."""

    def __init__(self, source: Iterator[T], stopping: threading.Event, capacity: int = 1_000) -> None:
        self._queue: queue.Queue[T | _Failed] = queue.Queue(capacity)
        self._stopping = stopping
        threading.Thread(target=self._run, args=(source,), name="inlet", daemon=True).start()

    def take(self, limit: int, timeout_s: float) -> list[T]:
        """What has come, at most `limit` things; waits a moment for the first. Raises what the iterator raised."""
        taken: list[T] = []
        with contextlib.suppress(queue.Empty):
            while len(taken) < limit:
                thing = self._queue.get(timeout=0 if taken else timeout_s)
                if isinstance(thing, _Failed):
                    raise thing.error
                taken.append(thing)
        return taken

    def _run(self, source: Iterator[T]) -> None:
        try:
            for thing in source:
                self._put(thing)
                if self._stopping.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - the loop raises it
            self._put(_Failed(error))

    def _put(self, thing: T | _Failed) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(thing, timeout=_LOOK_SECONDS)
                return
