"""The client of a wiki's API: patient, polite, bounded, and never wrong about which page it has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import Fatal, TryAgain, UsageError
from producers.api import client as api_client
from producers.api import http
from producers.api.budget import Budget
from producers.api.client import MediaWikiApi
from producers.api.http import ApiHttp
from producers.fetch.retry import TRIES
from tests.dump_server import QuickClock
from tests.unit.producers.api.conftest import Client
from tests.wiki_server import Reply, Served

MAXLAG = Reply(
    body=json.dumps({"error": {"code": "maxlag", "info": "Waiting for db1: 7 s lagged"}}).encode(),
    headers={"Retry-After": "5"},
)


NESTED = b"[" * 50_000 + b"]" * 50_000


@pytest.mark.parametrize(
    "odd",
    [
        b'{"pageid": 7, "title": null}',
        b'{"pageid": 7, "title": "A", "lastrevid": ' + b"9" * 5_000 + b"}",
        b'{"pageid": "seven"}',
        b"7",
    ],
    ids=["no title", "long number", "id as text", "no page"],
)
def test_a_page_that_is_odd_costs_no_other(site: Served, client: Client, odd: bytes) -> None:
    client.api.site()
    good = b'{"pageid": 8, "ns": 0, "title": "Opal", "missing": true}'
    site.wiki.replies.append(Reply(body=b'{"query": {"pages": [' + odd + b", " + good + b"]}}"))
    assert [page.pageid for page in client.api.by_ids([7, 8]).pages] == [8]


def test_a_page_that_is_nested_without_end_costs_only_itself(site: Served, client: Client) -> None:
    client.api.site()
    nested = Reply(body=b'{"query": {"pages": [{"pageid": 7, "title": "A", "odd": ' + NESTED + b"}]}}")
    site.wiki.replies.extend([nested])
    site.wiki.write(7, "Amber", "Amber is a resin.")
    site.wiki.write(8, "Opal", "Opal is a gem.")
    assert {key for key, look in client.looks(7, 8).items() if look.page} == {7, 8}, "each was asked for by itself"
    site.wiki.replies.extend([nested])
    assert list(client.api.by_ids([7]).failed) == ["7"]


@pytest.mark.parametrize("odd", [rb"half \ud83d a pair", b"no \xff UTF-8"], ids=["surrogate", "bytes"])
def test_what_is_no_text_in_an_answer_is_replaced(site: Served, client: Client, odd: bytes) -> None:
    client.api.site()
    page = b'{"pageid": 7, "ns": 0, "title": "' + odd + b'", "missing": true}'
    site.wiki.replies.append(Reply(body=b'{"query": {"pages": [' + page + b"]}}"))
    (found,) = client.api.by_ids([7]).pages
    assert "\ufffd" in found.title


def test_continuations_without_end_are_given_up(site: Served, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.api.site()
    monkeypatch.setattr(api_client, "MAX_CONTINUATIONS", 5)
    for number in range(50):
        body = json.dumps({"continue": {"cmcontinue": str(number)}, "query": {"categorymembers": []}})
        site.wiki.replies.append(Reply(body=body.encode()))
    with pytest.raises(TryAgain, match="continuations"):
        list(client.api.members("Category:Resins"))


def test_answers_to_one_question_are_bounded_together(
    site: Served, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.api.site()
    monkeypatch.setattr(api_client, "MAX_CONTINUED_BYTES", 10_000)
    for number in range(100):
        page = {"pageid": 7, "title": "Amber", "odd": "x" * 1_000}
        body = json.dumps({"continue": {"clcontinue": str(number)}, "query": {"pages": [page]}})
        site.wiki.replies.append(Reply(body=body.encode()))
    assert "more than 10,000 bytes" in client.api.by_ids([7]).failed["7"]


def test_an_account_is_named_by_its_token_which_never_goes_in_the_clear(site: Served) -> None:
    http = ApiHttp(site.api, "cirrostream/0", token="a.b-c")
    MediaWikiApi(http).site()
    assert site.wiki.requests[-1].authorization == "Bearer a.b-c"
    with pytest.raises(UsageError, match="in the clear"):
        ApiHttp("http://wiki.example.org/api.php", "cirrostream/0", token="a.b-c")
    with pytest.raises(UsageError, match=r"no token of OAuth 2"):
        ApiHttp(site.api, "cirrostream/0", token="a\r\nX: y")


def test_each_request_and_each_retry_takes_a_turn_of_the_budget(site: Served, tmp_path: Path) -> None:
    clock = QuickClock()
    http = ApiHttp(site.api, "cirrostream/0", clock=clock, budget=Budget(tmp_path / "wikimedia", 60, lambda: 1_000.0))
    api = MediaWikiApi(http)
    site.wiki.replies.append(MAXLAG)
    api.site()
    api.by_ids([7])
    turns = [seconds for seconds in clock.slept if seconds < 5]
    assert turns == pytest.approx([0, 1 / 0.95, 2 / 0.95])


def test_it_says_who_it_is_and_how_patient(site: Served, client: Client) -> None:
    client.api.site()
    client.api.by_ids([1])
    assert all(request.agent.startswith("cirrostream/") for request in site.wiki.requests)
    assert all(request.parameters["maxlag"] == "5" for request in site.wiki.requests)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(429, headers={"Retry-After": "11"}),
        Reply(503, headers={"Retry-After": "11"}),
        Reply(MAXLAG.status, MAXLAG.body, {"Retry-After": "11"}),
    ],
    ids=["429", "503", "maxlag"],
)
def test_it_waits_as_long_as_the_server_asks(site: Served, client: Client, reply: Reply) -> None:
    site.wiki.write(7, "Amber", "Amber is a resin.")
    client.api.site()
    site.wiki.replies.extend([reply, reply])
    assert client.looks(7)[7].page is not None
    assert len(client.waited) == 2
    assert all(11 <= seconds <= 13 for seconds in client.waited)


def test_pauses_grow_and_end(site: Served, client: Client) -> None:
    site.wiki.replies.extend([Reply(503)] * 50)
    with pytest.raises(TryAgain, match="HTTP 503"):
        client.api.site()
    assert len(client.waited) == TRIES - 1
    assert client.waited[-1] > 8 * client.waited[0]
    assert sum(client.waited) < 120


def test_a_server_that_wants_an_hour_is_left_alone(site: Served, client: Client) -> None:
    site.wiki.replies.append(Reply(429, headers={"Retry-After": "3600"}))
    with pytest.raises(TryAgain, match="left alone"):
        client.api.site()
    assert not client.waited


def test_a_server_that_is_away_means_try_again() -> None:
    http = ApiHttp("http://127.0.0.1:1/w/api.php", "cirrostream/0", clock=QuickClock())
    with pytest.raises(TryAgain, match="is it up"):
        MediaWikiApi(http).site()


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (Reply(404), UsageError, "no API is there"),
        (Reply(301, headers={"Location": "https://b.example/w/api.php"}), UsageError, "b.example"),
        (Reply(403, b"Please set a user-agent"), Fatal, "Please set a user-agent"),
        (Reply(200, b"<html>Hello</html>", kind="text/html"), Fatal, "text/html"),
        (Reply(200, b'{"query": {"pages": 7}}'), Fatal, "is --api right"),
        (Reply(200, b'{"error": {"code": "badvalue", "info": "Unknown thing"}}'), Fatal, "badvalue: Unknown thing"),
    ],
    ids=["404", "moved", "403", "html", "other JSON", "API error"],
)
def test_what_no_patience_helps_with_is_said_at_once(
    site: Served, client: Client, reply: Reply, error: type[Exception], words: str
) -> None:
    site.wiki.replies.append(reply)
    with pytest.raises(error, match=words):
        client.api.site()
    assert not client.waited


def test_an_answer_without_end_is_not_read_to_its_end(
    site: Served, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", 1_000)
    site.wiki.replies.append(Reply(200, b" " * 100_000))
    with pytest.raises(TryAgain, match="more than 1,000 bytes"):
        client.api.site()


def test_documents_that_do_not_fit_into_an_answer_are_asked_for_again(site: Served, client: Client) -> None:
    for number in range(1, 6):
        site.wiki.write(number, f"Page {number}", "word " * 100)
    site.wiki.room = 1_200
    looks = client.looks(1, 2, 3, 4, 5)
    assert all(look.page is not None for look in looks.values())
    assert len(looks) == 5


def test_one_page_that_breaks_the_server_costs_only_itself(site: Served, client: Client) -> None:
    for number in range(1, 21):
        site.wiki.write(number, f"Page {number}", "Some text.")
    site.wiki.broken_pages = {13}
    found = client.api.by_ids(range(1, 21))
    assert list(found.failed) == ["13"]
    assert sorted(page.pageid for page in found.pages) == [n for n in range(1, 21) if n != 13]


@pytest.mark.parametrize("status", [413, 414], ids=["body", "address"])
def test_a_request_that_is_too_long_for_a_server_is_divided(site: Served, client: Client, status: int) -> None:
    for number in range(1, 5):
        site.wiki.write(number, f"Page {number}", "Some text.")
    client.api.site()
    site.wiki.replies.append(Reply(status))
    assert sorted(page.pageid for page in client.api.by_ids(range(1, 5)).pages) == [1, 2, 3, 4]


@pytest.mark.parametrize("word", ["Long " * 40, "琥珀" * 8], ids=["words", "letters that an address has escaped"])
def test_many_long_titles_go_in_a_body(site: Served, client: Client, word: str) -> None:
    titles = [f"{word}{number}" for number in range(20)]
    for number, title in enumerate(titles):
        site.wiki.write(number + 1, title, "Some text.")
    assert len(client.api.by_titles(titles).pages) == 20
    assert site.wiki.requests[-1].method == "POST"
