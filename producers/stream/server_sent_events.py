"""Bytes of a stream of server-sent events to events, however they were cut, and never one without bound.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""A page change has some 5 kB; Wikimedia's Kafka takes 4 MiB."""

MAX_ID_CHARACTERS = 8_000
"""It goes into a header of the next request, and servers refuse long ones."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event."""

    id: str
    """The stream's position behind this event; empty when it has said none so far."""
    kind: str
    data: bytes | None
    """None: there was more of it than the bound."""


class EventParser:
    """Takes blocks of bytes as they come; an event that the stream's end cuts off is not one."""

    def __init__(self, last_id: str = "", max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._id = last_id
        self._max_bytes = max_bytes
        self._line = bytearray()
        self._line_too_long = False
        self._after_return = False
        self._first = True
        self._begin()

    def feed(self, block: bytes) -> Iterator[ServerEvent]:
        """The events that end in this block."""
        if not block:
            return
        if self._after_return and block.startswith(b"\n"):
            block = block[1:]  # of a \r\n that was cut in two
        self._after_return = block.endswith(b"\r")
        *complete, rest = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for part in complete:
            self._keep(part)
            yield from self._end_of_line()
        self._keep(rest)

    def _begin(self) -> None:
        self._kind = "message"
        self._data: list[bytes] = []
        self._size = 0
        self._too_large = False

    def _keep(self, part: bytes) -> None:
        if len(self._line) + len(part) > self._max_bytes:
            self._line_too_long = True
        else:
            self._line += part

    def _end_of_line(self) -> Iterator[ServerEvent]:
        line, too_long = bytes(self._line), self._line_too_long
        self._line.clear()
        self._line_too_long = False
        if self._first:
            line, self._first = line.removeprefix(b"\xef\xbb\xbf"), False
        if too_long:
            self._too_large = True
        elif line:
            self._field(line)
        else:
            yield from self._dispatch()

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._size += len(value) + 1
            self._too_large = self._too_large or self._size > self._max_bytes
            if not self._too_large:
                self._data.append(value)
        elif name == b"event":
            self._kind = value.decode("utf-8", "replace") or "message"
        elif name == b"id" and b"\0" not in value and len(value) <= MAX_ID_CHARACTERS:
            self._id = value.decode("utf-8", "replace")

    def _dispatch(self) -> Iterator[ServerEvent]:
        if self._data or self._too_large:
            yield ServerEvent(self._id, self._kind, None if self._too_large else b"\n".join(self._data))
        self._begin()
