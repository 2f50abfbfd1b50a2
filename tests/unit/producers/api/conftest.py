"""A wiki on this machine, and a client of its API whose waits take no time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from producers.api.client import MediaWikiApi
from producers.api.http import ApiHttp
from producers.api.looks import Look, WikiPages
from producers.fetch.contact import user_agent
from producers.wikimedia.parser_child import parse
from producers.wikimedia.settings import DocumentRules
from tests.dump_server import QuickClock
from tests.wiki_server import FakeWiki, Served, served


@pytest.fixture
def site() -> Iterator[Served]:
    with served(FakeWiki()) as site:
        yield site


class Client:
    """An API client whose waits take no time."""

    def __init__(self, site: Served) -> None:
        self.clock = QuickClock()
        self.waited = self.clock.slept
        self.http = ApiHttp(site.api, user_agent("", site.api), clock=self.clock)
        self.api = MediaWikiApi(self.http)
        self.wiki = site.wiki

    def pages(self, name: str = "") -> WikiPages:
        """For pages of the wiki by this name, its own if there is none."""
        site = self.api.site()
        return WikiPages(name or self.wiki.wiki, DocumentRules(), site, lambda text: parse(text, site.names))

    def looks(self, *page_ids: int) -> dict[int, Look]:
        return {look.page_id: look for look in map(self.pages().look, self.api.by_ids(page_ids).pages)}


@pytest.fixture
def client(site: Served) -> Iterator[Client]:
    client = Client(site)
    yield client
    client.http.close()
