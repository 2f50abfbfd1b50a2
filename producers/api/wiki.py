"""A wiki by its settings: its API, known to be the right one's, and pages made of its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from pipeline.errors import UsageError
from pipeline.service import Service
from pipeline.settings import ServiceSettings
from pipeline.wiki_name import WikiNameOrNone
from producers.api.budget import budget_for
from producers.api.client import MediaWikiApi
from producers.api.http import CONNECTIONS, ApiHttp, waited_for
from producers.api.looks import WikiPages
from producers.fetch.clock import StopClock
from producers.fetch.contact import Contact, user_agent
from producers.wikimedia.parser import MarkupParser
from producers.wikimedia.settings import DocumentSettings
from producers.wikimedia.sites import site


def web_address(value: str) -> str:
    """Checks that this is a plain http(s) address, without a user or a query."""
    if value:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise ValueError("an http:// or https:// address without a query")
    return value


class WikiSettings(ServiceSettings, DocumentSettings):
    """The wiki, who asks it, and the pages of it that are wanted."""

    wiki: WikiNameOrNone = Field("", description="Database name of a wiki, such as simplewiki.")
    api: Annotated[str, AfterValidator(web_address)] = Field(
        "", description="Address of the wiki's api.php; empty: that of the Wikimedia wiki of this name."
    )
    api_token: SecretStr = SecretStr("")
    """Access token of OAuth 2 for an account at the wiki, such as an editor's or a bot's: it may ask more often."""
    contact: Contact = Field("", description="Your e-mail or web address, which servers see as who asks.")

    @model_validator(mode="after")
    def _has_wiki(self) -> Self:
        if not self.wiki:
            raise ValueError("name the wiki: --wiki (CIRROSTREAM_WIKI), such as simplewiki")
        return self

    @property
    def api_url(self) -> str:
        """Address of the API. Raises UsageError when the wiki is not one of Wikimedia's and none is given."""
        if self.api:
            return self.api
        host, _ = site(self.wiki)
        if not host:
            raise UsageError(f"{self.wiki}: not the name of a Wikimedia wiki; say where its api.php is with --api")
        return f"https://{host}/w/api.php"


def open_api(settings: WikiSettings, service: Service, tick: Callable[[], object]) -> MediaWikiApi:
    """The wiki's API, which has answered and is that wiki's. Its calls raise Stopped when the service is to end.

    `tick` is called while it is waited for.

    Raises:
        UsageError: it is not, or there is none at that address.
        TryAgain: it does not answer.
    """
    url = settings.api_url
    http = ApiHttp(
        url,
        user_agent(settings.contact, url),
        clock=StopClock(service.stopping),
        budget=budget_for(url, settings.data_dir),
        token=settings.api_token.get_secret_value(),
        retried=lambda: service.metrics.retry("mediawiki"),
        timed=lambda: service.metrics.timed("fetch"),
    )
    api = MediaWikiApi(http)
    site = waited_for(api.site, tick)
    if site.wiki_id != settings.wiki:
        if not settings.api:
            raise UsageError(f"{url}: this is the API of {site.wiki_id}, not of {settings.wiki}")
        # A wiki of one's own may have any name here; but its pages will go by ours.
        service.log.warning("the wiki calls itself otherwise", api=url, itself=site.wiki_id, here=settings.wiki)
    if settings.api_token.get_secret_value() and not site.user.id:
        raise UsageError(f"{url}: does not know whose CIRROSTREAM_API_TOKEN this is: is it one of this wiki's?")
    http.budget = budget_for(url, settings.data_dir, site.user.id, frozenset(site.user.groups))
    service.log.info(
        "wiki",
        api=url,
        name=site.name,
        documents="CirrusSearch" if site.has_documents else "wikitext",
        user=site.user.name if site.user.id else "",
    )
    return api


@contextmanager
def wiki_pages(settings: WikiSettings, service: Service, api: MediaWikiApi) -> Iterator[WikiPages]:
    """Makes pages of what this API answers, as the settings have it; for the threads that ask it."""
    site = api.site()
    check = StopClock(service.stopping).check
    with MarkupParser(site.names, workers=CONNECTIONS) as parser:
        yield WikiPages(settings.wiki, settings.rules, site, lambda wikitext: parser.parse(wikitext, check))
