"""Waiting on a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from pipeline.errors import TryAgain

PATIENCE_S = 90.0
"""For what takes a second on an idle machine; only a failure ever waits so long."""


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Returns when `condition` holds; fails the test, naming `what`, when it does not within the time.

    A condition that raises `TryAgain` does not hold yet.
    """
    deadline = time.monotonic() + timeout_s
    while not _holds(condition):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.05)


def _holds(condition: Callable[[], object]) -> bool:
    with suppress(TryAgain):
        return bool(condition())
    return False
