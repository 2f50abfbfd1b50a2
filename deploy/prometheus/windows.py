"""The times that something must last before somebody is told: all in proportion to one window."""

from __future__ import annotations

import re
from dataclasses import dataclass

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0}
STUCK_S = 120.0
"""Pages wait and none is done for so long: then a stage is stuck. A batch takes seconds, on a CPU tens of seconds."""


@dataclass(frozen=True, slots=True)
class Windows:
    """The one window, and what others are in its multiples.

    A test that shows an alert within a minute renders the rules with a window of seconds; every rate then looks back
    by so little that a scrape must come every few seconds, too.
    """

    stuck_s: float = STUCK_S

    def seconds(self, minutes: float) -> float:
        """These minutes, in proportion to the window: they are meant for one of two minutes."""
        return minutes * 60 * self.stuck_s / STUCK_S

    def of(self, minutes: float) -> str:
        """The same, as Prometheus writes it."""
        return as_duration(self.seconds(minutes))


def as_duration(seconds: float) -> str:
    """Such as 90s, 2m or 500ms: the largest unit that leaves no fraction."""
    milliseconds = round(seconds * 1000)
    for unit, in_seconds in reversed(UNITS.items()):
        size = round(in_seconds * 1000)
        if milliseconds % size == 0 and milliseconds >= size:
            return f"{milliseconds // size}{unit}"
    return "0s"


def parsed(text: str) -> float:
    """Seconds of a duration such as 90s or 2m.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text.strip())
    if found is None:
        raise ValueError("a duration such as 120s or 2m")
    return float(found[1]) * UNITS[found[2]]
