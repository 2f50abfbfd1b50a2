"""A stream of server-sent events that goes on: connects again, where it was, whenever it breaks off.

The public stream ends every connection after 15 minutes; that is no failure. Nor is it one to be let in again, so a
server that takes connections and says nothing counts as away. httpx-sse reads the events; before it no event has a
bound, so that is set here. https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

import contextlib
import queue
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import httpx
from httpx_sse import EventSource, ServerSentEvent

from pipeline.errors import Fatal, TryAgain, one_line
from producers.fetch.clock import StopClock
from producers.fetch.remote_file import Unavailable
from producers.fetch.retry import TRIES, Retries, rest_asked

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""A page change has some 5 kB; Wikimedia's Kafka takes 4 MiB."""

MAX_ID_BYTES = 8_000
"""It goes into a header of the next request, and servers refuse long ones."""

LONGEST_REST = 300.0

_TOO_LARGE = "too large"
_BLANK_LINE = re.compile(rb"\n[\r\n]|\r\r")
_HEADER_VALUE = re.compile(rb"[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?")


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event."""

    id: str
    """The stream's position behind this event; empty when it has said none so far."""
    kind: str
    data: bytes | None
    """None: there was more of it than the bound."""


class EventStream:
    """The events from a position on; its waits end with the clock."""

    def __init__(
        self,
        url: str,
        agent: str,
        *,
        clock: StopClock,
        last_id: str = "",
        since: str = "",
        silence_seconds: float = 60.0,
        broken: Callable[[str, float], None] = lambda _, __: None,
    ) -> None:
        self._url = url
        self._agent = agent
        self._clock = clock
        self._last_id = last_id if can_be_sent(last_id) else ""
        self._since = since
        self._timeout = httpx.Timeout(silence_seconds, connect=15.0)
        self._broken = broken
        self._passed = 0

    def events(self) -> Iterator[ServerEvent]:
        """The events, for ever.

        Raises:
            TryAgain: the server was away for minutes.
            Fatal: it refuses us, or is no stream of events.
            Stopped: the process is to end.
        """
        try:
            for attempt in Retries(self._clock, lambda: self._passed, self._broken):
                with attempt:
                    yield from self._connection()
        except Unavailable as error:
            raise TryAgain(f"{self._url}: {error}, {TRIES} times in a row; is it up?") from error

    def _connection(self) -> Iterator[ServerEvent]:
        """The events of one connection, until it breaks: always, with Unavailable."""
        headers = {"User-Agent": self._agent, "Accept": "text/event-stream"}
        headers["Cache-Control"] = "no-cache"
        headers["Accept-Encoding"] = "identity"  # a compressor keeps back events until it has a block of them
        parameters = None
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        elif self._since:
            parameters = {"since": self._since}
        try:
            with (
                httpx.Client(timeout=self._timeout) as client,
                client.stream(
                    "GET", self._url, headers=httpx.Headers(headers, encoding="utf-8"), params=parameters
                ) as response,
            ):
                self._check(response)
                for event in read_events(response.iter_bytes(), self._last_id):
                    if event.kind == "error":
                        # The server's last word before it closes, in place of a status code.
                        said = (event.data or b"")[:200].decode("utf-8", "replace")
                        raise Unavailable(f"the server says: {said}")
                    self._last_id = event.id
                    self._passed += 1
                    yield event
        except httpx.ReadTimeout as error:
            raise Unavailable("the stream went silent") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Unavailable(one_line(error)) from error
        raise Unavailable("the stream ended")

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == 429 or status >= 500:
            rest = rest_asked(response.headers.get("Retry-After", ""), self._clock.today())
            if rest > LONGEST_REST:
                raise TryAgain(f"{self._url}: HTTP {status}: it asks to be left alone for {rest:.0f} s or more")
            raise Unavailable(f"HTTP {status}", rest)
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


def read_events(blocks: Iterable[bytes], last_id: str = "", max_bytes: int = MAX_EVENT_BYTES) -> Iterator[ServerEvent]:
    """The events of a body, however it was cut into blocks; one without data says nothing and is passed over.

    An id that no header can say is none: the one before it stays, and what is behind that comes again.
    """
    # The body is UTF-8 whatever the server calls it, and a byte order mark is no part of it.
    body = httpx.Response(
        200, headers={"Content-Type": "text/event-stream; charset=utf-8-sig"}, stream=_Body(_bounded(blocks, max_bytes))
    )
    for event in EventSource(body).iter_sse():
        if event.id and can_be_sent(event.id):
            last_id = event.id
        if event.data:
            yield _event(event, last_id)


def can_be_sent(event_id: str) -> bool:
    """True when an id may stand in the header of a request."""
    value = event_id.encode("utf-8", "replace")
    return len(value) <= MAX_ID_BYTES and _HEADER_VALUE.fullmatch(value) is not None


class _Body(httpx.SyncByteStream):
    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks

    def __iter__(self) -> Iterator[bytes]:
        return self._blocks


def _bounded(blocks: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """The blocks without what an event has behind its bound; it ends there, as one of the kind `_TOO_LARGE`."""
    before, size = b"", 0
    for block in blocks:
        kept = bytearray()
        seen, start = before + block, 0
        ends = [(end, True) for found in _BLANK_LINE.finditer(seen) if (end := found.end() - len(before)) > 0]
        for end, is_blank in (*ends, (len(block), False)):
            if size <= max_bytes:
                kept += block[start : min(end, start + max_bytes - size)]
                if size + end - start > max_bytes:
                    kept += f"\ndata: x\nevent: {_TOO_LARGE}\n\n".encode()
            size = 0 if is_blank else size + end - start
            start = end
        before = seen[-3:]
        yield bytes(kept)


def _event(event: ServerSentEvent, last_id: str) -> ServerEvent:
    if event.event == _TOO_LARGE:
        return ServerEvent(last_id, "message", None)
    return ServerEvent(last_id, event.event or "message", event.data.encode())


T = TypeVar("T")

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
        """Things that have come, at most `limit`; waits a moment for the first. Raises what the iterator raised."""
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
