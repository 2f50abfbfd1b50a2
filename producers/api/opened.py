"""From the settings to an API that is known to be the right wiki's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from pipeline.errors import UsageError
from pipeline.service import Service
from producers.api.client import MediaWikiApi
from producers.api.http import ApiHttp
from producers.api.settings import WikiSettings
from producers.fetch.contact import user_agent

R = TypeVar("R")

_LOOK_SECONDS = 0.1


class Stopped(Exception):
    """The process is to end, and waits no longer."""


def open_api(settings: WikiSettings, service: Service, turned: Callable[[], object]) -> MediaWikiApi:
    """The wiki's API, which has answered and is that wiki's. Its calls raise Stopped when the service is to end.

    `turned` is called while they wait: the service's own for its main thread, nothing for any other.

    Raises:
        UsageError: it is not, or there is none at that address.
        TryAgain: it does not answer.
    """
    url = settings.api_url

    def perform(request: Callable[[], R]) -> R:
        with service.metrics.timed("fetch"):
            return _perform(request, service.stopping, turned)

    http = ApiHttp(
        url,
        user_agent(settings.contact, url),
        sleep=lambda seconds: wait_or_stop(seconds, service.stopping, turned),
        perform=perform,
        retried=lambda: service.metrics.retry("mediawiki"),
    )
    api = MediaWikiApi(http)
    site = api.site()
    if site.wiki_id != settings.wiki:
        if not settings.api:
            raise UsageError(f"{url}: this is the API of {site.wiki_id}, not of {settings.wiki}")
        # A wiki of one's own may have any name here; but its pages will go by ours.
        service.log.warning("the wiki calls itself otherwise", api=url, itself=site.wiki_id, here=settings.wiki)
    service.log.info("wiki", api=url, name=site.name, documents="CirrusSearch" if site.has_documents else "wikitext")
    return api


def wait_or_stop(seconds: float, stopping: threading.Event, turned: Callable[[], object] = lambda: None) -> None:
    """Waits as a server asks. Raises Stopped when the process is to end meanwhile."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        turned()
        if stopping.wait(min(left, 1.0)):
            raise Stopped


def _perform(request: Callable[[], R], stopping: threading.Event, turned: Callable[[], object]) -> R:
    """The request's outcome. It has a thread of its own: nothing else ends the wait for a server that is slow."""
    outcome: Future[R] = Future()

    def run() -> None:
        try:
            outcome.set_result(request())
        except BaseException as error:  # noqa: BLE001 - raised below, where it belongs
            outcome.set_exception(error)

    threading.Thread(target=run, name="request", daemon=True).start()
    while not stopping.is_set():
        turned()
        if wait([outcome], _LOOK_SECONDS).done:
            return outcome.result()
    raise Stopped
