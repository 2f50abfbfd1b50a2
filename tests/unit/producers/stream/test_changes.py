"""Change events and what follows from them: the page's state decides, never their order."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import msgspec
import pytest
import structlog

from pipeline.errors import TryAgain
from pipeline.metrics import Metrics
from pipeline.records import Page
from pipeline.rejected import Rejected
from producers.api.answers import WikiPage
from producers.api.client import WikiSite
from producers.api.looks import Look, WikiPages
from producers.stream.changes import Change, read_change
from producers.stream.events import ServerEvent
from producers.stream.follower import MAX_FAILURES_IN_A_ROW, MAX_LOOKS, Follower
from producers.wikimedia.parser_child import Parsed
from producers.wikimedia.settings import DocumentRules
from tests.wiki_server import FakePage, FakeWiki

RULES = DocumentRules()


def no_wikitext(_: str) -> Parsed:
    raise AssertionError("documents are not parsed")


def amber(**fields: Any) -> FakePage:
    return FakePage(**{"page_id": 7, "title": "Amber", "text": "Amber is a resin.", "revision": 101, **fields})


def change_of(kind: str, page: FakePage, rules: DocumentRules = RULES, /, **more: Any) -> Change | Rejected:
    return read_change(json.dumps(FakeWiki().event(kind, page, **more)).encode(), "testwiki", rules)


@pytest.mark.parametrize("kind", ["edit", "create", "move", "delete", "undelete", "visibility_change", "new in 2030"])
def test_every_kind_of_change_is_a_reason_to_look(kind: str) -> None:
    change = change_of(kind, amber())
    assert isinstance(change, Change)
    assert (change.page_id, change.kind, change.revision) == (7, kind, 101)
    assert abs(change.at - time.time()) < 60
    assert change.deletes == (kind == "delete")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"wiki_id": "otherwiki"}, "other_wiki"),
        ({"meta": {"domain": "canary", "dt": ""}}, "canary"),
        ({"page": {"page_id": 7, "namespace_id": 1}}, "namespace"),
        ({"page": {"page_id": "7", "namespace_id": 0}}, "malformed"),
        ({"page": {"page_id": -7, "namespace_id": 0}}, "malformed"),
        ({"page": {"page_id": 2**40, "namespace_id": 0}}, "malformed"),
        ({"page": None}, "malformed"),
        ({"meta": None}, "malformed"),
    ],
)
def test_what_is_not_ours_or_not_an_event_is_passed_over(more: dict[str, Any], reason: str) -> None:
    assert change_of("edit", amber(), **more) == Rejected(reason)


NESTED = b"[" * 50_000 + b"]" * 50_000


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"[]", b"\xff", b'{"meta": {}}' * 2, NESTED, b'{"meta": {}, "odd": ' + NESTED + b"}"),
        b'{"meta": {}, "wiki_id": "testwiki", "odd": ' + NESTED + b"}",
    ],
)
def test_bytes_that_are_no_event_are_malformed(data: bytes) -> None:
    assert read_change(data, "testwiki", RULES) == Rejected("malformed")


@pytest.mark.parametrize("dt", ["0001-01-01T00:00:00", "9999-12-31T23:59:59-23:00", "now", "2026-11-15T24:00:00Z"])
def test_a_time_that_is_none_is_not_known(dt: str) -> None:
    change = change_of("edit", amber(), meta={"domain": "wiki.example.org", "dt": dt})
    assert isinstance(change, Change)
    assert change.at == 0.0 or change.at > 10**9


def test_a_page_that_leaves_the_namespaces_is_looked_at_and_one_that_moves_outside_is_not() -> None:
    gone = change_of("move", amber(namespace=2), prior_state={"page": {"namespace_id": 0}})
    assert isinstance(gone, Change)
    # Of the state before, an event has only what was different.
    assert change_of("move", amber(namespace=2), prior_state={"page": {"page_title": "B"}}) == Rejected("namespace")


def test_a_redirect_is_nothing_new_but_a_page_that_became_one_is_looked_at() -> None:
    assert change_of("create", amber(leads_to="Resin")) == Rejected("redirect")
    assert isinstance(change_of("edit", amber(leads_to="Resin")), Change)
    assert isinstance(change_of("create", amber(leads_to="Resin"), DocumentRules(redirects="page")), Change)


class World:
    """A wiki, the work that follows it, and what it has sent: all in one thread, with a clock of its own."""

    def __init__(self, refetch_seconds: float = 30.0) -> None:
        self.wiki = FakeWiki()
        self.now = 1_000.0
        self.sent: list[tuple[int, str | None]] = []
        self.looks = 0
        self.heard = 0
        self.stale: dict[int, Look] = {}
        """What the API says of a page as long as its replica is behind."""
        self.metrics = Metrics("live")
        self.pages = WikiPages("testwiki", RULES, WikiSite("testwiki", "A test", has_documents=True), no_wikitext)
        self.work = Follower(
            "testwiki",
            RULES,
            refetch_seconds,
            send=self._send,
            delete=lambda page_id: self.sent.append((page_id, None)),
            metrics=self.metrics,
            log=structlog.get_logger(),
        )

    def _send(self, page: Page) -> bool:
        self.sent.append((int(page.page_id), page.text))
        return True

    def hear(self, *events: dict[str, Any]) -> None:
        for event in events:
            self.heard += 1
            self.work.hear(ServerEvent(f"after {self.heard}", "message", json.dumps(event).encode()), self.now)

    def hear_all(self) -> None:
        self.hear(*self.wiki._events[self.heard :])

    def look(self, page_id: int) -> Look:
        (said,) = self.wiki.answer({"pageids": str(page_id)})["query"]["pages"]
        return self.pages.look(msgspec.json.decode(json.dumps(said), type=WikiPage))

    def turn(self, seconds: float = 1.0) -> None:
        self.now += seconds
        batch = self.work.pending.take(self.now, 50)
        self.looks += len(batch)
        ids = [pending.change.page_id for pending in batch]
        self.work.see(batch, [self.stale.get(page_id) or self.look(page_id) for page_id in ids], self.now)

    @property
    def table(self) -> dict[int, str]:
        """What a reader of `pages` would end up with."""
        newest = dict(self.sent)
        return {page_id: text for page_id, text in newest.items() if text is not None}

    def counted(self, reason: str) -> float:
        return (
            self.metrics.registry.get_sample_value("cirrostream_drops_total", {"stage": "live", "reason": reason})
            or 0.0
        )


def test_an_edit_is_sent_and_a_deletion_is_a_tombstone() -> None:
    world = World()
    world.wiki.write(7, "Amber", "Amber is a resin.")
    world.hear_all()
    world.turn()
    assert world.table == {7: "Amber is a resin."}
    world.wiki.delete(7)
    world.hear_all()
    world.turn()
    assert world.sent == [(7, "Amber is a resin."), (7, None)]
    world.wiki.restore(7)
    world.hear_all()
    world.turn()
    assert world.table == {7: "Amber is a resin."}


def test_a_page_edited_ten_times_in_a_minute_is_fetched_twice_and_its_last_text_is_sent() -> None:
    world = World(refetch_seconds=60)
    for number in range(10):
        world.wiki.write(7, "Amber", f"Text {number}.")
        world.hear_all()
        for _ in range(6):
            world.turn()
    world.turn(10)
    assert world.looks == 2
    assert world.table == {7: "Text 9."}


def test_a_deletion_does_not_wait_for_the_next_fetch() -> None:
    world = World(refetch_seconds=3600)
    for number in range(2):
        world.wiki.write(7, "Amber", f"Text {number}.")
        world.hear_all()
        world.turn()
    assert world.sent == [(7, "Text 0.")]
    world.wiki.delete(7)
    world.hear_all()
    world.turn()
    assert world.table == {}


def test_a_page_is_asked_for_once_at_a_time_because_the_older_of_two_answers_might_come_last() -> None:
    world = World(refetch_seconds=0)
    world.wiki.write(7, "Amber", "One.")
    world.hear_all()
    in_hand = world.work.pending.take(world.now + 1, 50)
    older = world.look(7)
    world.wiki.write(7, "Amber", "Two.")
    world.hear_all()
    assert world.work.pending.take(world.now + 2, 50) == []
    world.work.see(in_hand, [older], world.now + 2)
    world.turn(3)
    assert world.sent == [(7, "One."), (7, "Two.")]


def test_events_that_repeat_are_not_fetched_again() -> None:
    world = World()
    world.wiki.write(7, "Amber", "Amber is a resin.")
    world.hear_all()
    world.turn()
    world.hear(*world.wiki._events, *world.wiki._events)
    world.turn(100)
    assert (world.looks, len(world.sent)) == (1, 1)
    assert world.counted("repeated") == 2


@pytest.mark.parametrize(("data", "reason"), [(b"{", "malformed"), (None, "event_too_large")])
def test_an_event_that_cannot_be_read_is_counted_and_passed_over(data: bytes | None, reason: str) -> None:
    world = World()
    world.work.hear(ServerEvent("after 1", "message", data), world.now)
    assert world.counted(reason) == 1
    assert world.work.position == (1, "after 1")


@pytest.mark.parametrize("seed", range(20))
def test_in_whatever_order_events_come_the_table_ends_up_as_the_wiki_is(seed: int) -> None:
    rng = random.Random(seed)
    world = World(refetch_seconds=rng.choice([0, 5, 60]))
    for number in range(40):
        page_id = rng.randint(1, 4)
        page = world.wiki.pages.get(page_id)
        act = rng.choice(["write", "write", "delete", "restore", "move", "redirect"])
        if page is None or (act == "write" and page.exists):
            world.wiki.write(page_id, f"Page {page_id}", f"Text {number}.")
        elif act == "redirect" and page.exists:
            world.wiki.write(page_id, page.title, "", leads_to="Elsewhere")
        elif act == "delete" and page.exists:
            world.wiki.delete(page_id)
        elif act == "restore" and not page.exists:
            world.wiki.restore(page_id)
        elif act == "move" and page.exists:
            world.wiki.move(page_id, f"Page {page_id}", namespace=rng.choice([0, 2]))
    events = world.wiki._events * 2
    rng.shuffle(events)
    while events:
        world.hear(*[events.pop() for _ in range(min(len(events), rng.randint(1, 5)))])
        world.turn(rng.uniform(0.1, 3))
    for _ in range(100):
        world.turn(10)
    there = {p.page_id: p.text for p in world.wiki.pages.values() if p.exists and not (p.namespace or p.leads_to)}
    assert world.table == there
    assert not len(world.work.pending)


def test_an_answer_that_is_older_than_the_edit_is_asked_for_again() -> None:
    world = World()
    world.wiki.write(7, "Amber", "Old.")
    world.stale[7] = world.look(7)
    world.wiki.write(7, "Amber", "New.")
    world.hear(world.wiki._events[-1])
    world.turn()
    assert world.sent == []
    assert world.work.position[0] == 0, "the event is not done with yet"
    del world.stale[7]
    world.turn(3)
    assert world.sent == [(7, "New.")]
    assert world.work.position == (1, "after 1")


@pytest.mark.parametrize("created", [True, False], ids=["a page that is not there yet", "a page that is still there"])
def test_a_replica_that_has_not_heard_yet_neither_deletes_nor_keeps_a_page(created: bool) -> None:
    world = World()
    world.wiki.write(7, "Amber", "Amber is a resin.")
    if created:
        world.stale[7] = Look(7, reason="missing")
    else:
        world.stale[7] = world.look(7)
        world.wiki.delete(7)
    world.hear(world.wiki._events[-1])
    world.turn()
    assert world.sent == []
    del world.stale[7]
    world.turn(3)
    assert world.sent == [(7, "Amber is a resin." if created else None)]


def test_an_api_that_insists_is_believed() -> None:
    world = World()
    world.wiki.write(7, "Amber", "Amber is a resin.")
    world.wiki.delete(7)
    world.hear(world.wiki._events[0])
    for _ in range(20):
        world.turn()
    assert world.looks == MAX_LOOKS
    assert world.sent == [(7, None)]


def test_of_an_old_event_the_api_is_believed_at_once() -> None:
    world = World()
    world.wiki.write(7, "Amber", "Amber is a resin.")
    event = world.wiki._events[0] | {"meta": {"domain": "x", "dt": "2026-01-01T00:00:00Z"}}
    world.wiki.delete(7)
    world.hear(event)
    world.turn()
    assert (world.looks, world.sent) == (1, [(7, None)])


def test_a_page_that_cannot_be_read_is_left_as_it_is_and_many_of_them_are_the_servers_fault() -> None:
    world = World()
    for page_id in range(1, MAX_FAILURES_IN_A_ROW + 1):
        world.stale[page_id] = Look(page_id, reason="no_content")
        world.wiki.write(page_id, f"Page {page_id}", "Text.")
    world.hear_all()
    for _ in range(20):
        world.turn()
    assert world.sent == []
    assert world.counted("no_content") == MAX_FAILURES_IN_A_ROW
    world.stale[99] = Look(99, reason="no_content")
    world.wiki.write(99, "Page 99", "Text.")
    world.hear_all()
    for _ in range(MAX_LOOKS - 1):
        world.turn(10)
    with pytest.raises(TryAgain, match="21 pages in a row"):
        world.turn(10)


@pytest.mark.parametrize("reason", ["bad_wikitext", "slow_wikitext", "too_large_wikitext", "bad_page"])
def test_no_number_of_pages_that_nothing_can_be_made_of_stops_the_follower(reason: str) -> None:
    world = World()
    for page_id in range(1, 3 * MAX_FAILURES_IN_A_ROW):
        page = world.wiki.write(page_id, f"Page {page_id}", "Text.")
        world.stale[page_id] = Look(page_id, revision=page.revision, reason=reason)
    world.wiki.write(99, "Amber", "Amber is a resin.")
    world.hear_all()
    world.turn()
    world.turn()
    assert world.sent == [(99, "Amber is a resin.")]
    assert world.looks == 3 * MAX_FAILURES_IN_A_ROW, "the same text is not asked for again"
    assert world.counted(reason) == 3 * MAX_FAILURES_IN_A_ROW - 1
    assert world.work.position == (world.heard, f"after {world.heard}")


def test_a_page_that_holds_the_parser_up_is_looked_at_seldom_and_sent_when_it_is_mended() -> None:
    world = World(refetch_seconds=30)
    for number in range(100):
        page = world.wiki.write(7, "Amber", f"Text {number}.")
        world.stale[7] = Look(7, revision=page.revision, reason="slow_wikitext")
        world.hear_all()
        world.turn(10)
    assert world.looks == 2
    del world.stale[7]
    world.turn(1_000)
    assert world.table == {7: "Text 99."}
    world.stale[7] = Look(7, revision=world.wiki.write(7, "Amber", "Slow.").revision, reason="slow_wikitext")
    world.hear_all()
    world.turn(1_000)
    del world.stale[7]
    world.wiki.delete(7)
    world.hear_all()
    world.turn(1_000)
    assert world.table == {}, "a deletion does not wait, whatever was made of the page before"


def test_the_position_stays_before_the_oldest_change_that_is_not_sent() -> None:
    world = World(refetch_seconds=1_000)
    world.wiki.write(7, "Amber", "Text 0.")
    world.hear_all()
    world.turn()
    assert world.work.position == (1, "after 1")
    world.wiki.write(7, "Amber", "Text 1.")
    for number in range(50):
        world.wiki.write(100 + number, f"Page {number}", "Text.")
    world.hear_all()
    world.turn()
    assert len(world.sent) == 51
    assert world.work.position[0] <= 1, "page 7 waits for its next fetch"
    world.turn(2_000)
    assert world.work.position == (52, "after 52")
