"""Requests to one MediaWiki Action API: who asks, two connections, patience, and bounds on what comes back.

https://www.mediawiki.org/wiki/API:Etiquette. The API says "not now" in four ways: HTTP 429 and 503, and answers of
HTTP 200 with an error `maxlag` (its replicas are behind) or `ratelimited`. All four may carry `Retry-After`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec

from pipeline.errors import Fatal, TryAgain, UsageError, one_line
from pipeline.settings import MIB
from producers.api.answers import Answer, Problem, decode
from producers.api.budget import Budget
from producers.fetch.clock import StopClock
from producers.fetch.contact import is_loopback
from producers.fetch.remote_file import Unavailable
from producers.fetch.retry import Retries, rest_asked

CONNECTIONS = 2
TRIES_OF_MUCH = 3
"""Of a request that can be made smaller, when the server looks overwhelmed by it."""

LONGEST_REST = 300.0
"""A server that asks for a longer pause than this ends the process: its supervisor comes back later."""

MAX_ANSWER_BYTES = 64 * MIB
"""MediaWiki's own limit is 8 MiB of content an answer; its JSON may escape each character to six."""

ANSWER_SECONDS = 90.0
LONG_REQUEST = 2_000
"""Longer parameters, as an address has them, go in a body: servers and proxies refuse long addresses. Each letter of a
title in Japanese has nine characters there."""

NOT_NOW = frozenset({"maxlag", "ratelimited", "readonly", "concurrency-limit", "too-many-requests"})
_TOO_HEAVY = frozenset({500, 502, 504})
_TOO_LONG = frozenset({413, 414})
_TICK_SECONDS = 0.1

R = TypeVar("R")


class TooMuchAsked(TryAgain):
    """The server does not manage this request, or its answer is too large: less at a time may work."""


class BadAnswer(Fatal):
    """The API refuses this request, or answers it with what is no answer, and will do so again."""


class ApiError(BadAnswer):
    """The API says what is wrong with the request."""

    def __init__(self, url: str, problem: Problem) -> None:
        super().__init__(f"{url}: {problem.code}: {problem.info[:300]}")
        self.code = problem.code


class _NotNow(Unavailable):
    """No answer this time."""

    def __init__(self, why: str, *, rest: float = 0.0, heavy: bool = False) -> None:
        super().__init__(why, rest)
        self.heavy = heavy


class ApiHttp:
    """The connections to one API; its waits end with the clock.

    `token` is one of OAuth 2, for an account of the wiki's; it never goes over the network in the clear.
    """

    def __init__(
        self,
        url: str,
        agent: str,
        *,
        clock: StopClock | None = None,
        budget: Budget | None = None,
        token: str = "",
        retried: Callable[[], None] = lambda: None,
        timed: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.url = url
        self.budget = budget
        self._clock = clock or StopClock()
        self._retried = retried
        self._timed = timed
        headers = {"User-Agent": agent, "Accept-Encoding": "gzip"}
        if token:
            headers["Authorization"] = _bearer(token, url)
        self._client = httpx.Client(
            headers=headers,
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
            timeout=httpx.Timeout(60.0, connect=15.0, pool=ANSWER_SECONDS),
            follow_redirects=False,
        )

    def ask(self, parameters: Mapping[str, str], *, divisible: bool = False) -> Answer:
        """The answer, after as many tries as it takes.

        `divisible`: what can be asked for in parts is given up earlier when it seems to be too much.

        Raises:
            TooMuchAsked: a time-out, an error of a gateway, a request or an answer that is too large.
            BadAnswer: the API says what is wrong with the request, or what it says is no answer.
            TryAgain: the server is away, or asks for a long pause.
            UsageError, Fatal: there is no API at this address, or it refuses us.
            Stopped: the process is to end.
        """
        heavy = 0
        try:
            for attempt in Retries(self._clock, failed=lambda _, __: self._retried()):
                with attempt:
                    try:
                        return self._try(parameters)
                    except _NotNow as error:
                        heavy += error.heavy
                        if divisible and error.heavy and heavy >= TRIES_OF_MUCH:
                            raise TooMuchAsked(f"{self.url}: {error}, {heavy} times") from error
                        raise
        except _NotNow as error:
            kind = TooMuchAsked if error.heavy else TryAgain
            raise kind(f"{self.url}: {error}, tried several times; is it up?") from error
        raise AssertionError("retries end with an answer or an error")

    def close(self) -> None:
        self._client.close()

    def _try(self, parameters: Mapping[str, str]) -> Answer:
        sent = {"format": "json", "formatversion": "2", "maxlag": "5", **parameters}
        long = len(urlencode(sent)) > LONG_REQUEST
        if self.budget is not None:
            self._clock.sleep(self.budget.take())
        try:
            with (
                self._timed(),
                self._client.stream(
                    "POST" if long else "GET",
                    self.url,
                    params=None if long else sent,
                    data=sent if long else None,
                    # Lets a wiki with several data centres answer a POST from the nearest one.
                    headers={"Promise-Non-Write-API-Action": "true"} if long else None,
                ) as response,
            ):
                self._check(response)
                body = self._read(response)
        except httpx.ReadTimeout as error:
            raise _NotNow("no answer in time", heavy=True) from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _NotNow(one_line(error)) from error
        return self._answer(body, response)

    def _check(self, response: httpx.Response) -> None:
        """Raises unless the status is 200."""
        status = response.status_code
        if status == 429 or status >= 500:
            raise self._not_now(f"HTTP {status}", response, heavy=status in _TOO_HEAVY)
        if status == 200:
            return
        if 300 <= status < 400:
            place = response.headers.get("Location", "elsewhere")
            raise UsageError(f"{self.url}: the API has moved to {place[:300]}: give that with --api")
        if status in _TOO_LONG:
            raise TooMuchAsked(f"{self.url}: HTTP {status}: the request is too long")
        if status in (404, 410):
            raise UsageError(f"{self.url}: HTTP {status}, no API is there; give its address with --api")
        said = " ".join(self._read(response)[:1000].decode("utf-8", "replace").split())[:300]
        raise Fatal(f"{self.url}: HTTP {status}: {said} (if it refuses us: is --contact right?)")

    def _not_now(self, why: str, response: httpx.Response, *, heavy: bool = False) -> _NotNow:
        rest = rest_asked(response.headers.get("Retry-After", ""), self._clock.today())
        if rest > LONGEST_REST:
            raise TryAgain(f"{self.url}: {why}: it asks to be left alone for {rest:.0f} s or more")
        return _NotNow(why, rest=rest, heavy=heavy)

    def _read(self, response: httpx.Response) -> bytes:
        """The body, as long as it keeps to its size and its time: a server that drips is no faster than one that
        stalls."""
        deadline = time.monotonic() + ANSWER_SECONDS
        body = bytearray()
        for block in response.iter_bytes():
            body += block
            if len(body) > MAX_ANSWER_BYTES:
                raise TooMuchAsked(f"{self.url}: an answer of more than {MAX_ANSWER_BYTES:,} bytes")
            if time.monotonic() > deadline:
                raise _NotNow(f"an answer took more than {ANSWER_SECONDS:.0f} s", heavy=True)
        return bytes(body)

    def _answer(self, body: bytes, response: httpx.Response) -> Answer:
        try:
            answer = decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            kind = response.headers.get("Content-Type", "something without a type")[:100]
            said = str(error)[:300]
            raise BadAnswer(f"{self.url}: answers {kind}, not as an API does ({said}): is --api right?") from None
        if answer.error is None:
            return answer
        if answer.error.code in NOT_NOW or answer.error.code.startswith("internal_api_error_DB"):
            raise self._not_now(f"{answer.error.code}: {answer.error.info[:200]}", response)
        raise ApiError(self.url, answer.error)


def _bearer(token: str, url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise UsageError(f"{url}: CIRROSTREAM_API_TOKEN would go over the network in the clear; use https://")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("CIRROSTREAM_API_TOKEN: no token of OAuth 2, which has letters, digits and signs alone")
    return f"Bearer {token}"


def in_background(call: Callable[[], R]) -> Future[R]:
    """Makes the call on a thread of its own; the future has its outcome, whatever that is.

    It is a daemon thread, which those of an executor are not: a process that ends does not wait for a server.
    """
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
    while not wait([outcome], _TICK_SECONDS).done:
        tick()
    return outcome.result()
