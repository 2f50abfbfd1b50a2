"""Pages are sent again, and what somebody else sent meanwhile is never buried."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline import topics
from pipeline.kafka import Cluster, read_to_end
from pipeline.publisher import Message, Publisher
from pipeline.resend import Resent, resend, send_again
from pipeline.settings import Settings


@pytest.fixture
def pages(cluster: Cluster) -> str:
    return topics.ensure_corpus(cluster, Settings()).pages


def send(cluster: Cluster, pages: str, *records: tuple[str, str | None]) -> None:
    with Publisher(cluster) as publisher:
        for key, value in records:
            publisher.publish([Message(pages, key.encode(), None if value is None else value.encode())]).wait(30)


def newest(cluster: Cluster, pages: str) -> dict[str, str | None]:
    found: dict[str, tuple[int, str | None]] = {}
    for record in read_to_end(cluster, pages):
        value = None if record.value is None else record.value.decode()
        key = record.key.decode()
        found[key] = max(found.get(key, (-1, None)), (record.offset, value), key=lambda version: version[0])
    return {key: value for key, (_, value) in found.items()}


def test_wanted_pages_are_sent_again_as_they_are_and_unknown_ones_as_deleted(cluster: Cluster, pages: str) -> None:
    send(cluster, pages, ("w:1", "old"), ("w:1", "new"), ("w:2", "two"), ("w:3", None))
    ends = sum(cluster.log(pages).ends.values())
    assert resend(cluster, pages, {b"w:1", b"w:3", b"w:unknown"}) == Resent(2, 1, 0)
    assert sum(cluster.log(pages).ends.values()) == ends + 3
    assert newest(cluster, pages) == {"w:1": "new", "w:2": "two", "w:3": None, "w:unknown": None}


def test_a_newer_version_sent_between_reading_and_sending_wins(cluster: Cluster, pages: str) -> None:
    send(cluster, pages, ("w:1", "old"))
    since = cluster.log(pages).ends
    send(cluster, pages, ("w:1", "newer"))
    with Publisher(cluster) as publisher:
        assert send_again(cluster, publisher, [Message(pages, b"w:1", b"old")], since) == 1
    assert newest(cluster, pages) == {"w:1": "newer"}


def test_a_version_sent_while_the_newer_one_is_sent_again_wins_too(cluster: Cluster, pages: str) -> None:
    send(cluster, pages, ("w:1", "old"))
    since = cluster.log(pages).ends
    send(cluster, pages, ("w:1", "newer"))

    class Overtaken(Publisher):
        calls = 0

        def publish(self, messages: Any) -> Any:
            self.calls += 1
            if self.calls == 2:
                send(cluster, pages, ("w:1", "newest"))
            return super().publish(messages)

    with Overtaken(cluster) as publisher:
        assert send_again(cluster, publisher, [Message(pages, b"w:1", b"old")], since) == 2
    assert newest(cluster, pages) == {"w:1": "newest"}
