"""An API that is known to be the right wiki's, made of the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.errors import UsageError
from pipeline.service import Service
from producers.api.background import waited_for
from producers.api.budget import budget_for
from producers.api.client import MediaWikiApi
from producers.api.http import CONNECTIONS, ApiHttp
from producers.api.looks import WikiPages
from producers.api.settings import WikiSettings
from producers.fetch.clock import StopClock
from producers.fetch.contact import user_agent
from producers.wikimedia.parser import MarkupParser


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
