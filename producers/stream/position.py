"""How far in the stream of changes everything is in `pages`: the place to go on from."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

import msgspec

from pipeline.kafka import Cluster, read_to_end
from pipeline.progress_records import decode_record
from pipeline.publisher import Delivery, Message, Publisher

SCHEMA_VERSION = 1
EVENTS_A_MARK = 20
"""An event's id has some 250 bytes, and one slow page may hold back thousands of events."""

_PARTITION = 0
"""Of the topic `progress`: fixed, so that only this one need be read to find the record."""


class LivePosition(msgspec.Struct, frozen=True, kw_only=True):
    """The record `live/<wiki>` in `progress`."""

    schema: int = SCHEMA_VERSION
    wiki: str
    stream: str
    since: str = ""
    """What `--since` said: another one begins again."""
    begun: str
    """Time from which on changes are followed, ISO 8601."""
    event_id: str = ""
    """Every change from then up to this event is in `pages`; empty before the first."""
    at: str
    """When that was, ISO 8601."""

    @property
    def age_days(self) -> float:
        return (datetime.now(UTC) - datetime.fromisoformat(self.at)).total_seconds() / 86_400


class Passed:
    """The ids of the events that were heard, until everything up to them is done."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, str]] = deque()
        self._last = (0, "")

    def event(self, event_id: str) -> int:
        """Takes note of an event, and gives its number."""
        number = self._last[0] + 1
        if number % EVENTS_A_MARK == 1 and self._last[1]:
            self._marks.append(self._last)
        self._last = (number, event_id)
        return number

    def before(self, open_: int | None) -> tuple[int, str]:
        """The newest event known here that is older than the oldest open one; number 0 when there is none."""
        if open_ is None:
            self._marks.clear()
            return self._last
        found = (0, "")
        while self._marks and self._marks[0][0] < open_:
            found = self._marks.popleft()
        if found[0]:
            self._marks.appendleft(found)
        return found


def begin(wiki: str, stream: str, since: str) -> LivePosition:
    """Before the first change of this time, or of now."""
    now = now_text()
    return LivePosition(wiki=wiki, stream=stream, since=since, begun=since or now, at=now)


def key_of(wiki: str) -> str:
    return f"live/{wiki}"


def now_text() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_position(cluster: Cluster, topic: str, wiki: str) -> LivePosition | None:
    """The newest record of this wiki; None when there is none that can be read.

    Raises:
        Fatal: a newer Cirrostream wrote it.
    """
    key = key_of(wiki).encode()
    found: bytes | None = None
    for record in read_to_end(cluster, topic, [_PARTITION], deadline_s=600):
        if record.key == key:
            found = record.value
    return None if found is None else _decode(found)


def send_position(publisher: Publisher, topic: str, position: LivePosition) -> Delivery:
    value = msgspec.msgpack.encode(position)
    return publisher.publish([Message(topic, key_of(position.wiki).encode(), value, partition=_PARTITION)])


def _decode(data: bytes) -> LivePosition | None:
    return decode_record(data, LivePosition, SCHEMA_VERSION, "the position in the stream")
