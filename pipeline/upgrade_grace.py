"""Time for a stage's own upgrade when it meets a record of a newer schema: 15 minutes, then it goes on.

In a rolling upgrade a process may meet what a newer one wrote. It ends with code 75 until it is replaced, and nothing
is lost. But whoever has a worker's password can write such a record, too, and no upgrade will come. So after the time
it is a dead letter, which `pipeline.dead_letters replay` mends, and those that follow within a day are at once: else
each of a thousand would cost the time anew. The beginning is kept beside the group's positions, for the process ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

GRACE_SECONDS = 900
OVER_SECONDS = 86_400
"""So long after its beginning no other grace begins; the next upgrade gets its own."""


def current(beginnings: Iterable[int], now: int) -> int | None:
    """Unix time at which today's grace began; None: none has. One from the future is of a wrong clock."""
    return min((at for at in beginnings if 0 <= now - at < OVER_SECONDS), default=None)


def is_over(beginning: int, now: int) -> bool:
    return now - beginning >= GRACE_SECONDS


@dataclass(slots=True)
class Grace:
    """The grace of a process that keeps its beginning itself."""

    beginning: int | None = None

    def has_passed(self) -> bool:
        """True when a record of a newer schema may be passed by now; the first such question begins the grace."""
        now = int(time.time())
        self.beginning = current(() if self.beginning is None else (self.beginning,), now)
        if self.beginning is None:
            self.beginning = now
        return is_over(self.beginning, now)
