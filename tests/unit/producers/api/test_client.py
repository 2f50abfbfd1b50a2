"""The client of a wiki's API: patient, polite, bounded, and never wrong about which page it has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.errors import Fatal, TryAgain, UsageError
from producers.api import http
from producers.api.client import MediaWikiApi
from producers.api.http import ApiHttp
from producers.api.looks import Look, WikiPages
from producers.api.settings import MediaWikiSettings
from producers.api.titles import pages_in
from producers.fetch.contact import user_agent
from producers.wikimedia.settings import DocumentRules
from tests.wiki_server import FakeWiki, Reply, Served, served

MAXLAG = Reply(
    body=json.dumps({"error": {"code": "maxlag", "info": "Waiting for db1: 7 s lagged"}}).encode(),
    headers={"Retry-After": "5"},
)


@pytest.fixture
def site() -> Iterator[Served]:
    with served(FakeWiki()) as site:
        yield site


class Client:
    """An API client whose waits take no time."""

    def __init__(self, site: Served) -> None:
        self.waited: list[float] = []
        self.http = ApiHttp(site.api, user_agent("", site.api), sleep=self.waited.append)
        self.api = MediaWikiApi(self.http)
        self.pages = WikiPages(site.wiki.wiki, DocumentRules())

    def looks(self, *page_ids: int) -> dict[int, Look]:
        return {look.page_id: look for look in map(self.pages.look, self.api.by_ids(page_ids).pages)}


@pytest.fixture
def client(site: Served) -> Iterator[Client]:
    client = Client(site)
    yield client
    client.http.close()


def test_a_document_becomes_the_page_that_a_dump_would_give(site: Served, client: Client) -> None:
    site.wiki.write(7, "Amber", "Amber is a resin. It burns.", categories=("Resins",))
    site.wiki.write(8, "Bernstein", "", leads_to="Amber")
    page = client.looks(7)[7].page
    assert page is not None
    assert (page.key, page.title, page.text) == ("testwiki:7", "Amber", "Amber is a resin. It burns.")
    assert (page.categories, page.aliases, page.revision) == (("Resins",), ("Bernstein",), 101)
    assert (page.url, page.language, page.snapshot) == ("https://wiki.example.org/wiki/Amber", "en", "")


def test_pages_go_by_our_name_of_the_wiki_whatever_it_calls_itself(site: Served, client: Client) -> None:
    site.wiki.write(7, "Amber", "Amber is a resin.")
    page = WikiPages("mine", DocumentRules()).look(client.api.by_ids([7]).pages[0]).page
    assert page is not None
    assert page.key == "mine:7"


def test_what_is_no_page_is_told_apart(site: Served, client: Client) -> None:
    site.wiki.write(1, "Bernstein", "", leads_to="Amber")
    site.wiki.write(2, "Talk:Amber", "About it.", namespace=1)
    site.wiki.write(3, "Blank", "  ")
    site.wiki.write(4, "Script.js", "alert(1)", model="javascript")
    looks = client.looks(1, 2, 3, 4, 5)
    assert {key: look.reason for key, look in looks.items()} == {
        1: "redirect",
        2: "namespace",
        3: "empty",
        4: "content_model",
        5: "missing",
    }
    assert all(look.gone for look in looks.values())


def test_without_cirrussearch_wikitext_becomes_the_same_kind_of_page(site: Served, client: Client) -> None:
    site.wiki.cirrus = False
    wikitext = "'''Amber''' is a [[resin]].\n\n== Uses ==\nIt is worn.\n[[Category:Resins]]"
    site.wiki.write(7, "Amber", wikitext, categories=("Resins", "Gems", "Fossils"))
    site.wiki.write(8, "Bernstein", "#REDIRECT [[Amber]]", leads_to="Amber")
    page = client.looks(7)[7].page
    assert page is not None
    assert (page.opening_text, page.text) == ("Amber is a resin.", "Amber is a resin. Uses It is worn.")
    assert (page.aliases, page.revision) == (("Bernstein",), 101)
    assert page.categories == ("Resins", "Gems", "Fossils"), "two of them came in further answers"


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
    assert len(client.waited) == http.TRIES - 1
    assert client.waited[-1] > 8 * client.waited[0]
    assert sum(client.waited) < 120


def test_a_server_that_wants_an_hour_is_left_alone(site: Served, client: Client) -> None:
    site.wiki.replies.append(Reply(429, headers={"Retry-After": "3600"}))
    with pytest.raises(TryAgain, match="left alone"):
        client.api.site()
    assert not client.waited


def test_a_server_that_is_away_means_try_again() -> None:
    http = ApiHttp("http://127.0.0.1:1/w/api.php", "cirrostream/0", sleep=lambda _: None)
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
    assert found.failed == ["13"]
    assert sorted(page.pageid for page in found.pages) == [n for n in range(1, 21) if n != 13]


def test_many_long_titles_go_in_a_body(site: Served, client: Client) -> None:
    titles = [f"{'Long ' * 40}{number}" for number in range(20)]
    for number, title in enumerate(titles):
        site.wiki.write(number + 1, title, "Some text.")
    assert len(client.api.by_titles(titles).pages) == 20
    assert site.wiki.requests[-1].method == "POST"


def test_a_category_is_walked_once_though_it_contains_itself(site: Served, client: Client) -> None:
    for number in range(1, 6):
        site.wiki.write(number, f"Page {number}", "Some text.", categories=("Resins",))
    site.wiki.write(20, "Category:Fossil resins", "", namespace=14, categories=("Resins",))
    site.wiki.write(21, "Category:Resins", "", namespace=14, categories=("Fossil resins",))
    site.wiki.write(6, "Page 6", "Some text.", categories=("Fossil resins",))
    assert [m.pageid for m in pages_in(client.api, "Resins", depth=0)] == [1, 2, 3, 4, 5, 20]
    assert sorted(m.pageid for m in pages_in(client.api, "Category:Resins", depth=9)) == [1, 2, 3, 4, 5, 6, 20, 21]


def test_only_servers_of_this_machine_are_asked_without_a_contact() -> None:
    assert user_agent("", "http://localhost:8080/w/api.php").startswith("cirrostream/")
    assert user_agent("", "http://[::1]/api.php")
    assert user_agent("me@example.org", "https://en.wikipedia.org/").endswith(" (me@example.org)")
    with pytest.raises(UsageError, match="CIRROSTREAM_CONTACT"):
        user_agent("", "https://en.wikipedia.org/w/api.php")
    with pytest.raises(UsageError):
        user_agent("", "https://127.0.0.1.example.org/w/api.php")


@pytest.mark.parametrize("contact", ["me", "a@b.org\r\nX: y", "http://x y", "ä@example.org", "(a@b.org)"])
def test_a_contact_that_is_none_or_breaks_a_header_is_refused(contact: str) -> None:
    with pytest.raises(ValidationError, match="an e-mail address"):
        MediaWikiSettings(wiki="enwiki", titles="A", contact=contact)


def test_the_api_of_a_wikimedia_wiki_follows_from_its_name() -> None:
    assert MediaWikiSettings(wiki="simplewiki", titles="A").api_url == "https://simple.wikipedia.org/w/api.php"
    with pytest.raises(UsageError, match="--api"):
        _ = MediaWikiSettings(wiki="mine", titles="A").api_url


@pytest.mark.parametrize("fields", [{}, {"titles": "A", "category": "B"}], ids=["nothing", "two things"])
def test_it_must_be_said_in_one_way_which_pages(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="in one way"):
        MediaWikiSettings(wiki="simplewiki", **fields)
