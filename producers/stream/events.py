"""A stream of server-sent events that goes on: connects again, where it was, whenever it breaks off.

The public stream ends every connection after 15 minutes; that is no failure. Nor is it one to be let in again, so a
server that takes connections and says nothing counts as away.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import httpx

from pipeline.errors import Fatal, TryAgain
from producers.fetch.retry import rest_asked
from producers.stream.server_sent_events import EventParser, ServerEvent

TRIES = 10
"""Connections in a row without an event; with the pauses between them about three minutes."""

LONGEST_PAUSE = 30.0
LONGEST_REST = 300.0


class _Broken(Exception):
    """No more events by this connection."""

    def __init__(self, why: str, rest: float = 0.0) -> None:
        super().__init__(why)
        self.rest = rest


class EventStream:
    """The events from a position on. `sleep` may raise, to end the waiting of a process that is stopped."""

    def __init__(
        self,
        url: str,
        agent: str,
        *,
        last_id: str = "",
        since: str = "",
        silence_seconds: float = 60.0,
        sleep: Callable[[float], object] = time.sleep,
        broken: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._url = url
        self._agent = agent
        self._last_id = last_id
        self._since = since
        self._timeout = httpx.Timeout(silence_seconds, connect=15.0)
        self._sleep = sleep
        self._broken = broken
        self._failures = 0

    def events(self) -> Iterator[ServerEvent]:
        """The events, for ever.

        Raises:
            TryAgain: the server was away for minutes.
            Fatal: it refuses us, or is no stream of events.
        """
        while True:
            try:
                yield from self._connection()
            except _Broken as error:
                self._failures += 1
                self._broken(str(error))
                if self._failures >= TRIES or error.rest > LONGEST_REST:
                    raise TryAgain(f"{self._url}: {error}, {self._failures} times in a row; is it up?") from error
                self._sleep(max(_pause(self._failures), error.rest))

    def _connection(self) -> Iterator[ServerEvent]:
        """The events of one connection, until it breaks: always, with _Broken."""
        headers = {"User-Agent": self._agent, "Accept": "text/event-stream", "Cache-Control": "no-cache"}
        headers["Accept-Encoding"] = "identity"  # a compressor keeps back events until it has a block of them
        parameters = None
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        elif self._since:
            parameters = {"since": self._since}
        parser = EventParser(self._last_id)
        try:
            with (
                httpx.Client(timeout=self._timeout) as client,
                client.stream("GET", self._url, headers=headers, params=parameters) as response,
            ):
                self._check(response)
                for block in response.iter_bytes():
                    for event in parser.feed(block):
                        yield self._passed(event)
        except httpx.ReadTimeout as error:
            raise _Broken("the stream went silent") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _Broken(f"{type(error).__name__}: {error}") from error
        raise _Broken("the stream ended")

    def _passed(self, event: ServerEvent) -> ServerEvent:
        if event.kind == "error":
            # The server's last word before it closes, in place of a status code.
            raise _Broken(f"the server says: {(event.data or b'')[:200].decode('utf-8', 'replace')}")
        self._last_id = event.id
        self._failures = 0
        return event

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == 429 or status >= 500:
            raise _Broken(f"HTTP {status}", rest_asked(response.headers.get("Retry-After", ""), time.time()))
        if status != 200:
            raise Fatal(f"{self._url}: HTTP {status}: {_said(response)} (is --stream right? is --contact?)")
        kind = response.headers.get("Content-Type", "")
        if not kind.startswith("text/event-stream"):
            raise Fatal(f"{self._url}: answers {kind[:100] or 'something'}, not a stream of events: is --stream right?")


def _said(response: httpx.Response) -> str:
    said = b""
    for block in response.iter_bytes(1024):
        said = block
        break
    return " ".join(said.decode("utf-8", "replace").split())[:300]


def _pause(failures: int) -> float:
    """0.5, 1, 2, … s shortened by up to a half: many clients lose one server at the same moment."""
    return min(LONGEST_PAUSE, 2.0 ** (failures - 2)) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
