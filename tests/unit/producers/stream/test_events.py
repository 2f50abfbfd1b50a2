"""The stream of events: read in whatever pieces it comes, connected to again, and never without bound."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Fatal, TryAgain
from producers.fetch.retry import TRIES
from producers.stream.events import EventStream, ServerEvent, read_events
from tests.dump_server import QuickClock
from tests.wiki_server import FakePage, FakeWiki, Reply, Served, served

STREAM = (
    b":ok\n\n"
    b'event: message\nid: [{"offset":1}]\ndata: {"a":1}\n\n'
    b"id: 2\r\ndata: two\r\ndata:lines\r\n\r\n"
    b"retry: 100\n\n"
    b"data: an id that stays\r\r"
    b"event: other\ndata: y\ndata\nunknown: x\n\n"
    b"data: cut off by the end\n"
)
EVENTS = [
    ServerEvent('[{"offset":1}]', "message", b'{"a":1}'),
    ServerEvent("2", "message", b"two\nlines"),
    ServerEvent("2", "message", b"an id that stays"),
    ServerEvent("2", "other", b"y\n"),
]


def parsed(blocks: list[bytes], max_bytes: int = 1_000) -> list[ServerEvent]:
    return list(read_events(blocks, max_bytes=max_bytes))


@given(st.lists(st.integers(0, len(STREAM))))
def test_events_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    assert parsed([STREAM[a:b] for a, b in pairwise(places)]) == EVENTS


def test_events_are_the_same_byte_by_byte() -> None:
    assert parsed([bytes([byte]) for byte in STREAM]) == EVENTS


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser_or_hide_the_event_behind_them(noise: bytes) -> None:
    assert parsed([noise, b"\n\n", b"data: x\n\n"])[-1].data == b"x"


@pytest.mark.parametrize("long", [b"data: " + b"x" * 5_000, b"data: x\n" * 3_000], ids=["one line", "many lines"])
def test_an_event_without_end_is_given_without_its_data(long: bytes) -> None:
    found = parsed([b"id: 1\n", long[:700], long[700:], b"\n\nid: 2\ndata: next\n\n"])
    assert found == [ServerEvent("1", "message", None), ServerEvent("2", "message", b"next")]


@pytest.mark.parametrize("line", [b"\r", b"\n", b"\r\n", b"data:\n"], ids=["cr", "lf", "both", "data"])
def test_no_stream_takes_longer_to_read_than_it_is_long(line: bytes) -> None:
    body = line * (1_000_000 // len(line)) + b"\n\ndata: x\n\n"
    begun = time.process_time()
    assert parsed([body[at : at + 65_536] for at in range(0, len(body), 65_536)], 4_000_000)[-1].data == b"x"
    assert time.process_time() - begun < 5


def test_a_byte_order_mark_is_no_part_of_the_first_field() -> None:
    assert parsed([b"\xef\xbb\xbfdata: x\n\n"]) == [ServerEvent("", "message", b"x")]


def test_keepalives_and_events_without_data_are_passed_over() -> None:
    assert parsed([b"id: 1\ndata: x\n\n:\n\n", b"id: 2\n\n", b"event: ping\n\n", b"data: y\n\n"])[1:] == [
        ServerEvent("2", "message", b"y")
    ]


@pytest.mark.parametrize("odd", ["\x01", "a\x7f", " a ", "x" * 9_000], ids=["control", "delete", "spaces", "long"])
def test_an_id_that_no_header_can_say_leaves_the_one_before(odd: str) -> None:
    found = parsed([b"id: 1\ndata: x\n\n", f"id: {odd}\ndata: y\n\n".encode()], max_bytes=20_000)
    assert [(event.id, event.data) for event in found] == [("1", b"x"), ("1", b"y")]


@pytest.fixture
def site() -> Iterator[Served]:
    with served(FakeWiki()) as site:
        yield site


class ActingClock(QuickClock):
    """Does something instead of waiting."""

    act: Callable[[], object] = staticmethod(lambda: None)

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.act()


class Listener:
    """A client of the stream whose waits take no time."""

    def __init__(self, site: Served, **settings: object) -> None:
        self.clock = ActingClock()
        self.waited = self.clock.slept
        self.breaks: list[str] = []
        self.site = site
        self.stream = EventStream(
            site.stream,
            "cirrostream/0",
            clock=self.clock,
            broken=lambda why, _: self.breaks.append(why),
            **settings,  # type: ignore[arg-type]
        )
        self._events = self.stream.events()

    def next(self, count: int) -> list[str]:
        """Kinds of change of the next events."""
        return [json.loads(event.data or b"")["page_change_kind"] for event in islice(self._events, count)]


def test_a_stream_that_breaks_off_is_taken_up_where_it_was(site: Served) -> None:
    site.wiki.write(7, "Amber", "One.")
    site.wiki.write(7, "Amber", "Two.")
    listener = Listener(site, since="2000-01-01T00:00:00Z")
    assert listener.next(2) == ["create", "edit"]
    site.wiki.break_off()
    site.wiki.delete(7)
    assert listener.next(1) == ["delete"]
    first, *_, last = site.wiki.listeners
    assert (first.parameters, first.last_event_id) == ({"since": "2000-01-01T00:00:00Z"}, "")
    assert (last.parameters, json.loads(last.last_event_id)[0]["offset"]) == ({}, 2)


def test_it_begins_behind_the_event_that_it_is_given(site: Served) -> None:
    for text in ("One.", "Two.", "Three."):
        site.wiki.write(7, "Amber", text)
    site.wiki.delete(7)
    listener = Listener(site, last_id='[{"topic":"dc.page_change","partition":0,"offset":3}]')
    assert listener.next(1) == ["delete"]


def test_an_id_that_is_not_ascii_goes_back_to_the_server_as_it_came(site: Served) -> None:
    event, position = (
        site.wiki.event("create", FakePage(7, "Amber", "One.", 101)),
        '[{"topic": "änderung", "offset": 1}]',
    )
    site.wiki.push(f"id: {position}\ndata: {json.dumps(event)}\n\n".encode())
    listener = Listener(site, since="2000-01-01T00:00:00Z")
    assert listener.next(1) == ["create"]
    site.wiki.break_off()
    site.wiki.write(7, "Amber", "Two.")
    assert listener.next(1) == ["create"]
    assert site.wiki.listeners[-1].last_event_id.encode("latin-1").decode() == '[{"topic": "änderung", "offset": 1}]'


def test_a_stored_id_that_no_header_can_say_is_none(site: Served) -> None:
    site.wiki.write(7, "Amber", "One.")
    listener = Listener(site, last_id="7\n8", since="2000-01-01T00:00:00Z")
    assert listener.next(1) == ["create"]


def test_an_event_that_was_cut_off_comes_whole_the_next_time(site: Served) -> None:
    site.wiki.push(b'id: [{"offset":1}]\ndata: {"page_change_ki')
    listener = Listener(site, since="2000-01-01T00:00:00Z", silence_seconds=0.3)

    def mend() -> None:
        site.wiki._events.clear()
        site.wiki.write(7, "Amber", "One.")

    listener.clock.act = mend
    assert listener.next(1) == ["create"]
    assert site.wiki.listeners[-1].last_event_id == "", "an id counts when its event is complete"


def test_a_silent_stream_is_connected_to_again(site: Served) -> None:
    listener = Listener(site, silence_seconds=0.2)
    listener.clock.act = lambda: site.wiki.write(7, "Amber", "One.")
    listener.stream._since = "2000-01-01T00:00:00Z"
    assert listener.next(1) == ["create"]
    assert listener.breaks == ["the stream went silent"]


@pytest.mark.parametrize(
    "reply", [Reply(429, headers={"Retry-After": "17"}), Reply(503, headers={"Retry-After": "17"})]
)
def test_it_waits_as_long_as_the_server_asks(site: Served, reply: Reply) -> None:
    site.wiki.write(7, "Amber", "One.")
    site.wiki.stream_replies.append(reply)
    listener = Listener(site, since="2000-01-01T00:00:00Z")
    assert listener.next(1) == ["create"]
    (waited,) = listener.waited
    assert 17 <= waited <= 19


def test_a_server_that_stays_away_ends_in_try_again_after_bounded_growing_pauses(site: Served) -> None:
    site.wiki.stream_replies.extend([Reply(502)] * 100)
    listener = Listener(site)
    with pytest.raises(TryAgain, match="is it up"):
        listener.next(1)
    assert len(listener.waited) == TRIES - 1
    assert 30 < sum(listener.waited) < 300


def test_a_server_that_wants_an_hour_is_left_alone(site: Served) -> None:
    site.wiki.stream_replies.append(Reply(429, headers={"Retry-After": "3600"}))
    listener = Listener(site)
    with pytest.raises(TryAgain, match="left alone"):
        listener.next(1)
    assert not listener.waited


def test_connections_that_end_again_and_again_are_no_failure_while_events_come(site: Served) -> None:
    listener = Listener(site, since="2000-01-01T00:00:00Z")
    for number in range(TRIES + 2):
        site.wiki.write(7, "Amber", f"Text {number}.")
        assert len(listener.next(1)) == 1
        site.wiki.break_off()
    assert max(listener.waited) <= 1


def test_an_error_that_the_stream_tells_of_is_a_break(site: Served) -> None:
    site.wiki.push(b'event: error\ndata: {"message": "Kafka went away"}\n\n')
    site.wiki.write(7, "Amber", "One.")
    listener = Listener(site, since="2000-01-01T00:00:00Z")
    listener.clock.act = lambda: site.wiki._events.pop(0) if len(site.wiki._events) == 2 else None
    assert listener.next(1) == ["create"]
    assert "Kafka went away" in listener.breaks[0]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(404, b"no such stream"), "HTTP 404: no such stream"),
        (Reply(403, b"who are you?"), "contact"),
        (Reply(400, b"bad Last-Event-ID"), "bad Last-Event-ID"),
        (Reply(200, b"<html>", kind="text/html"), "text/html, not a stream"),
    ],
)
def test_what_no_patience_helps_with_is_said_at_once(site: Served, reply: Reply, words: str) -> None:
    site.wiki.stream_replies.append(reply)
    listener = Listener(site)
    with pytest.raises(Fatal, match=words):
        listener.next(1)
    assert not listener.waited
