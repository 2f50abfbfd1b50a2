"""What waits for servers, on threads of its own: the loop never does, so that it turns, and stops when it is told.

They are daemon threads: a process that ends does not wait for a server.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
A = TypeVar("A")

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


class Askers(Generic[T, A]):
    """Some threads that turn questions into answers."""

    def __init__(self, answer: Callable[[T], A], threads: int) -> None:
        self._answer = answer
        self._questions: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[T, A] | _Failed] = queue.SimpleQueue()
        self._threads = threads
        self._open = 0
        for _ in range(threads):
            threading.Thread(target=self._run, name="asker", daemon=True).start()

    @property
    def free(self) -> bool:
        """Whether a further question would be taken up at once."""
        return self._open < self._threads

    def ask(self, question: T) -> None:
        self._open += 1
        self._questions.put(question)

    def answered(self) -> Iterator[tuple[T, A]]:
        """Questions with their answers, as far as they are there. Raises what an answer raised."""
        while True:
            try:
                found = self._answers.get_nowait()
            except queue.Empty:
                return
            self._open -= 1
            if isinstance(found, _Failed):
                raise found.error
            yield found

    def _run(self) -> None:
        while True:
            question = self._questions.get()
            try:
                self._answers.put((question, self._answer(question)))
            except BaseException as error:  # noqa: BLE001 - the loop raises it
                self._answers.put(_Failed(error))
