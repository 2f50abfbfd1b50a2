"""`python -m producers.mediawiki --wiki W --titles 'A|B'`: some pages of a wiki into `pages`, through its API."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Self

import msgspec
from pydantic import Field, model_validator
from rich import box
from rich.table import Table

from pipeline.cli import FLAG, command, new_app, run
from pipeline.dead_letters import DeadLetters
from pipeline.errors import Exit, Stopped
from pipeline.kafka import Cluster
from pipeline.metrics import Metrics
from pipeline.publisher import Publisher
from pipeline.records import Page
from pipeline.rejected import Rejected
from pipeline.service import Service
from pipeline.terminal import report_console, write_json
from pipeline.topics import ensure_corpus
from producers.account import Ledger
from producers.api.reader import members, pages_in, titled, titles_in
from producers.api.wiki import WikiSettings, open_api, wiki_pages
from producers.bytes.lines import BEGINNING
from producers.reader import Entry
from producers.run.delivery import InFlight, PageSender
from producers.run.source import TOO_LARGE
from producers.wikimedia.titles import read_titles

ACKNOWLEDGE_SECONDS = 300.0
STOP_SECONDS = 6.0

WITHOUT_PAGE = frozenset({"missing", "invalid_title", "interwiki"})
SHOWN_TITLES = 1_000
"""Titles without a page in `--json`; the ledger counts all."""

CAPTION_TITLES = 20

app = new_app("Fetches pages of a wiki through its API.")


class MediaWikiSettings(WikiSettings):
    """The pages to fetch: by title, from a file of titles, or of a category."""

    titles: str = Field("", description="Titles with | between them, such as 'Amber|Baltic Sea'.")
    titles_file: Path | None = Field(None, description="A file of titles, one a line.")
    category: str = Field("", description="Pages of this category, such as 'Minerals'.")
    depth: int = Field(0, ge=0, le=20, description="Subcategories of the category too, so many levels down.")
    limit: int | None = Field(None, ge=0, description="Send at most so many pages.")
    json_output: bool = Field(
        False, description="Print one JSON document at the end, nothing else.", json_schema_extra={FLAG: "--json"}
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(map(bool, (self.titles, self.titles_file, self.category))) != 1:
            raise ValueError("say which pages, in one way: --titles 'A|B', --titles-file FILE or --category NAME")
        return self


class Result(msgspec.Struct):
    """The document that `--json` prints."""

    wiki: str
    finished: bool
    balanced: bool
    ledger: Ledger
    without_page: list[str]
    """The first titles that no page has."""


@command(app, MediaWikiSettings)
def mediawiki(settings: MediaWikiSettings) -> int:
    """Sends pages of a wiki to `pages`: by title, from a file, or of a category. Doing it again is harmless."""
    with Service("produce", settings) as service:
        account = Account(service.metrics)
        with contextlib.suppress(Stopped):
            _send(settings, service, account)
        ledger, finished = account.ledger, not service.stopping.is_set()
        result = Result(settings.wiki, finished, ledger.balanced, ledger, account.without_page)
    if settings.json_output:
        write_json(msgspec.json.encode(result))
    else:
        report_console().print(_table(result))
    return Exit.DONE


class Account:
    """The ledger of a run, which the metrics follow: a run of hours is to be seen while it goes on."""

    def __init__(self, metrics: Metrics) -> None:
        self.ledger = Ledger()
        self.without_page: list[str] = []
        self._metrics = metrics

    def take(self, entry: Entry, refused: str) -> None:
        """Accounts for an entry; `refused` is why its page was not sent."""
        self.ledger.take(entry, refused)
        if isinstance(entry.page, Rejected):
            self._metrics.drop(entry.page.reason)
            if entry.page.reason in WITHOUT_PAGE and len(self.without_page) < SHOWN_TITLES:
                self.without_page.append(entry.page.detail)
        elif refused:
            self._metrics.drop(refused)
        elif entry.page is not None:
            self._metrics.count()


def _send(settings: MediaWikiSettings, service: Service, account: Account) -> None:
    """Reads and sends until the end, the limit or a stop. Raises Stopped when nothing was sent before it."""

    def tick() -> None:
        service.turned()
        if service.stopping.is_set():
            raise Stopped

    titles = read_titles(settings.titles_file) if settings.titles_file else titles_in(settings.titles)
    api = open_api(settings, service, tick)
    cluster = Cluster.connect(settings)
    topics = ensure_corpus(cluster, settings)
    with (
        wiki_pages(settings, service, api) as pages,
        Publisher(cluster, service.metrics, turned=service.turned) as publisher,
    ):
        wanted = pages_in(api, settings.category, settings.depth) if settings.category else None
        reader = titled(api, pages, titles) if wanted is None else members(api, pages, wanted)
        letters = DeadLetters(publisher, topics.dead_letters, service.metrics, settings.max_dead_letters)
        sender = PageSender(publisher, topics.pages, letters)
        in_flight = InFlight(BEGINNING)
        service.ready = True
        with contextlib.suppress(Stopped):
            for entry in reader.read(BEGINNING, tick) if settings.limit != 0 else ():
                refused = ""
                if isinstance(entry.page, Page):
                    handed = sender.send(entry.page, api.url, entry.after.line - 1)
                    if handed is None:
                        refused = TOO_LARGE
                    else:
                        in_flight.sent(handed.delivery, handed.size)
                account.take(entry, refused)
                if account.ledger.produced == settings.limit:
                    break
        in_flight.wait(STOP_SECONDS if service.stopping.is_set() else ACKNOWLEDGE_SECONDS)


def _caption(result: Result) -> str:
    said = [] if result.finished else ["stopped before the end"]
    if titles := result.without_page:
        more = f" and {len(titles) - CAPTION_TITLES:,} more" if len(titles) > CAPTION_TITLES else ""
        said.append(f"no page has: {', '.join(titles[:CAPTION_TITLES])}{more}")
    return "\n".join(said)


def _table(result: Result) -> Table:
    ledger = result.ledger
    table = Table(title=f"Ledger of {result.wiki}", title_justify="left", caption=_caption(result), box=box.SIMPLE_HEAD)
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
