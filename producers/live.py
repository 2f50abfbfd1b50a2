"""`python -m producers.live --wiki W`: the changes of a wiki into `pages`, within seconds of each."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, Field

from pipeline.cli import command, new_app, run
from pipeline.dead_letters import DeadLetters
from pipeline.errors import Exit, Fatal, Stopped
from pipeline.kafka import READ_SECONDS, Cluster
from pipeline.publisher import Publisher
from pipeline.records import utc_timestamp
from pipeline.service import Service
from pipeline.topics import ensure_corpus
from producers.api.client import MediaWikiApi
from producers.api.http import CONNECTIONS, in_background
from producers.api.looks import Look, WikiPages
from producers.api.wiki import WikiSettings, open_api, web_address, wiki_pages
from producers.fetch.clock import StopClock
from producers.fetch.contact import user_agent
from producers.run.delivery import PageSender
from producers.stream.events import EventStream, Inlet, ServerEvent
from producers.stream.follower import Follower
from producers.stream.outlet import LivePosition, Outlet, begin, read_position
from producers.stream.pending import Pending

MAX_PENDING = 20_000
"""More pages to look at, after a long absence, and the stream has to wait."""

EVENTS_A_TURN = 500
TURN_SECONDS = 0.1
STOP_SECONDS = 4.0

PUBLIC_STREAM = "https://stream.wikimedia.org/v2/stream/mediawiki.page_change.v1"


def _moment(value: str) -> str:
    """Any ISO 8601 time to one in UTC; without a zone it is taken for UTC."""
    if not value:
        return value
    try:
        moment = datetime.fromisoformat(value)
        return utc_timestamp(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)
    except (ValueError, OverflowError):
        raise ValueError("a time such as 2026-11-15 or 2026-11-15T06:00:00Z") from None


class LiveSettings(WikiSettings):
    """The changes to follow, the place to begin at, and the pace."""

    stream: Annotated[str, AfterValidator(web_address)] = Field(
        PUBLIC_STREAM, description="Address of the stream of page changes (server-sent events)."
    )
    since: Annotated[str, AfterValidator(_moment)] = Field(
        "",
        description="Begin with the changes of this time, such as a snapshot's date; another value than before "
        "begins again. Empty: with now.",
    )
    refetch_seconds: float = Field(
        30.0, ge=0, le=3600, description="Fetch a page that is edited again and again at most so often."
    )
    silence_seconds: float = Field(
        60.0, gt=0, description="Connect to the stream again when it says nothing for so long."
    )
    max_away_days: float = Field(
        7.0, gt=0, description="Refuse to go on after a longer absence: the stream has forgotten what was before."
    )
    progress_seconds: float = Field(2.0, gt=0, description="Write down how far all is sent, at most so often.")


app = new_app("Follows the changes of a wiki.")


@command(app, LiveSettings)
def live(settings: LiveSettings) -> int:
    """Follows a wiki's public stream of changes: edits, moves, deletions and restores reach `pages` within seconds."""
    with Service("live", settings) as service, contextlib.suppress(Stopped):
        agent = user_agent(settings.contact, settings.stream)
        api = open_api(settings, service, partial(_tick, service))
        cluster = Cluster.connect(settings)
        topics = ensure_corpus(cluster, settings)
        with service.step(f"reading {topics.progress}", 2 * READ_SECONDS):
            stored = read_position(cluster, topics.progress, settings.wiki)
        start = begin_or_go_on(settings, stored, service)
        with Publisher(cluster, service.metrics, turned=service.turned) as publisher:
            letters = DeadLetters(publisher, topics.dead_letters, service.metrics, settings.max_dead_letters)
            sender = PageSender(publisher, topics.pages, letters)
            outlet = Outlet(sender, publisher, topics, start, settings.progress_seconds)
            follow(settings, service, api, _events(settings, service, agent, start), outlet)
    return Exit.DONE


def _tick(service: Service) -> None:
    service.turned()
    if service.stopping.is_set():
        raise Stopped


def begin_or_go_on(settings: LiveSettings, stored: LivePosition | None, service: Service) -> LivePosition:
    """The place to begin at. Raises Fatal when the stream no longer has what came after."""
    afresh = begin(settings.wiki, settings.stream, settings.since)
    if stored is None:
        service.log.info("begins", since=afresh.begun)
        return afresh
    if (settings.since and settings.since != stored.since) or settings.stream != stored.stream:
        service.log.warning("begins again, as --since or --stream are others than before", since=afresh.begun)
        return afresh
    if stored.age_days > settings.max_away_days:
        raise Fatal(
            f"{settings.wiki}: nobody has followed its changes since {stored.at}, and the stream forgets what is older "
            f"than {settings.max_away_days:g} days (--max-away-days): load a newer snapshot, then begin with its date "
            "as --since"
        )
    service.log.info("goes on", since=stored.begun, event_id=stored.event_id, written=stored.at)
    return stored


def follow(
    settings: LiveSettings, service: Service, api: MediaWikiApi, events: Inlet[ServerEvent], outlet: Outlet
) -> None:
    """Sends what the events lead to, until the service is to stop."""
    asked: dict[Future[list[Look]], list[Pending]] = {}
    follower = Follower(
        settings.wiki,
        settings.rules,
        settings.refetch_seconds,
        send=outlet.send,
        delete=outlet.delete,
        metrics=service.metrics,
        log=service.log,
    )
    service.ready = True
    with wiki_pages(settings, service, api) as pages, contextlib.suppress(Stopped):
        while not service.stopping.is_set():
            _hear(follower, events)
            while len(asked) < CONNECTIONS and (batch := follower.pending.take(time.monotonic(), api.pages_a_call)):
                asked[in_background(partial(_looks, api, pages, batch))] = batch
            for answered in [future for future in asked if future.done()]:
                follower.see(asked.pop(answered), answered.result(), time.monotonic())
            outlet.mark(*follower.position)
            outlet.turn()
            service.turned()
    outlet.finish(STOP_SECONDS)


def _hear(follower: Follower, events: Inlet[ServerEvent]) -> None:
    room = MAX_PENDING - len(follower.pending)
    if room <= 0:
        time.sleep(TURN_SECONDS)
    for event in events.take(min(EVENTS_A_TURN, room), TURN_SECONDS):
        follower.hear(event, time.monotonic())


def _looks(api: MediaWikiApi, pages: WikiPages, batch: list[Pending]) -> list[Look]:
    found = api.by_ids([pending.change.page_id for pending in batch])
    failed = [Look(int(page_id), reason="api_error", detail=why) for page_id, why in found.failed.items()]
    return [*map(pages.look, found.pages), *failed]


def _events(settings: LiveSettings, service: Service, agent: str, start: LivePosition) -> Inlet[ServerEvent]:
    def broken(why: str, _: float) -> None:
        service.metrics.retry("stream")
        service.log.info("connects to the stream again", because=why)

    stream = EventStream(
        settings.stream,
        agent,
        clock=StopClock(service.stopping),
        last_id=start.event_id,
        since=start.begun,
        silence_seconds=settings.silence_seconds,
        broken=broken,
    )
    return Inlet(stream.events(), service.stopping)


if __name__ == "__main__":
    run(app, "producers.live")
