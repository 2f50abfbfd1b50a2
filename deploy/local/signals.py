"""Ctrl-C and its like."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SHOW_CURSOR = b"\x1b[?25h\n"


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Turns Ctrl-C, SIGTERM and a closed terminal into an event.

    A second one ends this process at once, and with it its children: that costs work done twice, nothing else.
    """
    stopping = threading.Event()

    def stop(number: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            if sys.stderr.isatty():
                os.write(2, SHOW_CURSOR)  # the live table has hidden it
            os._exit(128 + number)
        stopping.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
