"""The rule for asking a server again, and for giving up.

Failures count in a row: a download of hours may be broken off a hundred times, as long as each try brings more of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import TypeVar

from tenacity import AttemptManager, RetryCallState, Retrying, retry_if_exception_type

from producers.fetch.clock import StopClock
from producers.fetch.remote_file import Unavailable

R = TypeVar("R")

TRIES = 8
"""Failures in a row; with the pauses between them about two minutes."""

LONGEST_PAUSE = 60.0
LONGEST_REST = 900.0
"""A server that asks for more is asked again after this."""


class Retries:
    """The tries of one request, download or stream.

    `have` tells how much of it there is: more than ever before begins the count anew. `failed` is told of each failure
    that another try follows, with the seconds until then.
    """

    def __init__(
        self,
        clock: StopClock,
        have: Callable[[], int] = lambda: 0,
        failed: Callable[[str, float], None] = lambda _, __: None,
    ) -> None:
        self._clock = clock
        self._have = have
        self._failed = failed
        self._most = have()
        self._in_a_row = 0

    def __iter__(self) -> Iterator[AttemptManager]:
        """Raises the last Unavailable when there have been too many."""
        yield from Retrying(
            retry=retry_if_exception_type(Unavailable),
            after=self._count,
            stop=lambda _: self._in_a_row >= TRIES,
            wait=self._pause,
            sleep=self._clock.sleep,
            before_sleep=self._say,
            reraise=True,
        )

    def call(self, request: Callable[[], R]) -> R:
        """The outcome of the first try that succeeds. Raises the last Unavailable when there have been too many."""
        for attempt in self:
            with attempt:
                return request()
        raise AssertionError("tries end with an outcome or an error")

    def _count(self, _: RetryCallState) -> None:
        have = self._have()
        self._in_a_row = 1 if have > self._most else self._in_a_row + 1
        self._most = max(self._most, have)

    def _pause(self, state: RetryCallState) -> float:
        """1, 2, 4, … s, each shortened by up to a half so that many machines do not come back at once; never less than
        the server asks for."""
        pause = min(LONGEST_PAUSE, 2.0 ** (self._in_a_row - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        error = _error(state)
        rest = error.rest if isinstance(error, Unavailable) else 0.0
        return max(pause, rest * random.uniform(1.0, 1.1))  # noqa: S311 - no secret

    def _say(self, state: RetryCallState) -> None:
        self._failed(str(_error(state)), state.next_action.sleep if state.next_action else 0.0)


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def rest_asked(retry_after: str, today: float) -> float:
    """Seconds that a `Retry-After` header asks for (RFC 9110, 10.2.3: a number or a date); 0 for nonsense."""
    value = retry_after.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), LONGEST_REST)
    try:
        return min(max(0.0, parsedate_to_datetime(value).timestamp() - today), LONGEST_REST)
    except (ValueError, OverflowError):
        return 0.0
