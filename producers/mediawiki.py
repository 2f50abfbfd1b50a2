"""`python -m producers.mediawiki --wiki W --titles 'A|B'`: some pages of a wiki into `pages`, through its API."""

from __future__ import annotations

import contextlib

import msgspec
from rich import box
from rich.table import Table

from pipeline.cli import command, new_app, run
from pipeline.dead_letters import DeadLetters
from pipeline.errors import Exit
from pipeline.kafka import Cluster
from pipeline.metrics import Metrics
from pipeline.publisher import Publisher
from pipeline.service import Service
from pipeline.terminal import report_console, write_json
from pipeline.topics import ensure_corpus
from producers.account import Ledger
from producers.api.looks import WikiPages
from producers.api.opened import Stopped, open_api
from producers.api.run import WikiRun
from producers.api.settings import MediaWikiSettings
from producers.api.titles import pages_in, titles_in, titles_in_file
from producers.run.delivery import PageSender

ACKNOWLEDGE_SECONDS = 300.0
STOP_SECONDS = 6.0

app = new_app("Fetches pages of a wiki through its API.")


class Result(msgspec.Struct):
    """What `--json` prints."""

    wiki: str
    finished: bool
    balanced: bool
    ledger: Ledger


@command(app, MediaWikiSettings)
def mediawiki(settings: MediaWikiSettings) -> int:
    """Sends pages of a wiki to `pages`: by title, from a file, or of a category. Doing it again is harmless."""
    with Service("produce", settings) as service:
        try:
            ledger = _send(settings, service)
        except Stopped:  # before anything was sent
            ledger = Ledger()
        result = Result(settings.wiki, not service.stopping.is_set(), ledger.balanced, ledger)
    if settings.json_output:
        write_json(msgspec.json.encode(result))
    else:
        report_console().print(_table(result))
    return Exit.DONE


def _send(settings: MediaWikiSettings, service: Service) -> Ledger:
    counted = Counted(service.metrics)

    def go_on() -> bool:
        service.turned()
        counted.take(wiki.ledger)
        return not service.stopping.is_set()

    titles = titles_in_file(settings.titles_file) if settings.titles_file else titles_in(settings.titles)
    api = open_api(settings, service, service.turned)
    cluster = Cluster.connect(settings)
    topics = ensure_corpus(cluster, settings)
    with Publisher(cluster, service.metrics, turned=service.turned) as publisher:
        letters = DeadLetters(publisher, topics.dead_letters, service.metrics, settings.max_dead_letters)
        sender = PageSender(publisher, topics.pages, letters)
        wiki = WikiRun(api, WikiPages(settings.wiki, settings.rules), sender, limit=settings.limit, go_on=go_on)
        service.ready = True
        with contextlib.suppress(Stopped):
            if settings.category:
                wiki.send_members(pages_in(api, settings.category, settings.depth))
            else:
                wiki.send_titles(titles)
        wiki.finish(STOP_SECONDS if service.stopping.is_set() else ACKNOWLEDGE_SECONDS)
    counted.take(wiki.ledger)
    return wiki.ledger


class Counted:
    """What the metrics have of a ledger so far: a run of hours is to be seen while it runs."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._before = Ledger()

    def take(self, ledger: Ledger) -> None:
        """Counts what is new."""
        self._metrics.count(ledger.produced - self._before.produced)
        for reason, pages in ledger.dropped.items():
            self._metrics.drop(reason, pages - self._before.dropped.get(reason, 0))
        self._before = ledger.copy()


def _table(result: Result) -> Table:
    ledger = result.ledger
    state = "" if result.finished else "stopped before the end"
    table = Table(title=f"Ledger of {result.wiki}", title_justify="left", caption=state, box=box.SIMPLE_HEAD)
    table.add_column("read = produced + dropped")
    table.add_column("pages", justify="right")
    rows = {"read": ledger.read, "produced": ledger.produced}
    rows |= {f"dropped: {reason}": pages for reason, pages in sorted(ledger.dropped.items())}
    rows |= {f"noted: {what}": pages for what, pages in sorted(ledger.mended.items())}
    for what, pages in rows.items():
        table.add_row(what, f"{pages:,}")
    return table


if __name__ == "__main__":
    run(app, "producers.mediawiki")
