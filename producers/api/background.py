"""Calls that wait for a server, on threads of their own: who asks goes on turning, and stops when it is told.

They are daemon threads, as those of an executor are not: a process that ends does not wait for a server.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

R = TypeVar("R")

_LOOK_SECONDS = 0.1


def in_background(call: Callable[[], R]) -> Future[R]:
    """Makes the call on a thread of its own; the future has its outcome, whatever that is."""
    outcome: Future[R] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised by who asks for the outcome
            outcome.set_exception(error)

    threading.Thread(target=run, name="request", daemon=True).start()
    return outcome


def waited_for(call: Callable[[], R], tick: Callable[[], object]) -> R:
    """The call's outcome; `tick`, which may raise, is called while it is waited for."""
    outcome = in_background(call)
    while not wait([outcome], _LOOK_SECONDS).done:
        tick()
    return outcome.result()
