"""Rates of counts that grow, and the time that the rest will take."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

MINUTE_S = 60.0


@dataclass(slots=True)
class Rate:
    """A count's growth over a sliding window.

    A count that falls is another count (a process that started again, a group that was set back): the window begins
    anew with it, or the fall would hide all growth for as long as the window is.
    """

    window_s: float = MINUTE_S
    _points: deque[tuple[float, float]] = field(default_factory=deque)

    def take(self, count: float, now: float) -> None:
        """Notes this count as the newest point."""
        if self._points and count < self._points[-1][1]:
            self._points.clear()
        self._points.append((now, count))
        while len(self._points) > 2 and self._points[0][0] < now - self.window_s:
            self._points.popleft()

    @property
    def per_second(self) -> float:
        return self.grown / self.span_s if self.span_s > 0 else 0.0

    @property
    def grown(self) -> float:
        """By how much the count has grown in the window."""
        return self._points[-1][1] - self._points[0][1] if self._points else 0.0

    @property
    def span_s(self) -> float:
        """The part of the window that there is; a rate without it says nothing."""
        return self._points[-1][0] - self._points[0][0] if self._points else 0.0


@dataclass(frozen=True, slots=True)
class Pace:
    """A rate with the time that it was measured over."""

    per_second: float
    over_s: float

    @classmethod
    def of(cls, rate: Rate) -> Pace | None:
        """None before there are two points."""
        return cls(rate.per_second, rate.span_s) if rate.span_s > 0 else None


def time_left(lag: float, per_second: float) -> float | None:
    """Seconds until `lag` is worked off at this rate; None when nothing moves."""
    if lag <= 0:
        return 0.0
    return lag / per_second if per_second > 0 else None


def eta(seconds: float | None) -> str:
    """A time that is left, as people read it; a dash when nobody can know."""
    return "–" if seconds is None else duration(seconds)


def duration(seconds: float) -> str:
    """Such as `45 s`, `12 min`, `3.4 h`, `6.2 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def count(number: float | None) -> str:
    """A number of things; nothing when it is not known."""
    return "" if number is None else f"{number:,.0f}"


def per_second(rate: float) -> str:
    """Such as `0/s`, `0.03/s`, `12.5/s`, `4,210/s`: a slow rate is no standstill, and must not look like one."""
    if 0 < rate < 1:
        return f"{rate:.2g}/s"
    return f"{rate:,.1f}/s" if 0 < rate < 1000 else f"{rate:,.0f}/s"
