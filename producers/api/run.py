"""Fetches a list of pages and sends them, with an account of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from pipeline.errors import TryAgain
from pipeline.records import Page
from pipeline.rejected import Rejected
from producers.account import Ledger
from producers.api.answers import Titled, WikiPage
from producers.api.client import Found, MediaWikiApi
from producers.api.looks import Look, WikiPages
from producers.api.titles import is_title
from producers.bytes.lines import Position
from producers.reader import Entry, blank_lines
from producers.run.delivery import InFlight, PageSender

MAX_FAILURES_IN_A_ROW = 20

T = TypeVar("T")


class WikiRun:
    """One run over titles or members of a category. `go_on` is asked between requests, and may say no."""

    def __init__(
        self,
        api: MediaWikiApi,
        pages: WikiPages,
        sender: PageSender,
        *,
        limit: int | None,
        go_on: Callable[[], bool],
    ) -> None:
        self.ledger = Ledger()
        self._api = api
        self._pages = pages
        self._sender = sender
        self._limit = limit
        self._go_on = go_on
        self._in_flight = InFlight(0)
        self._sent: set[int] = set()
        self._failures = 0

    def send_titles(self, titles: Iterable[str]) -> None:
        """Sends the pages of these titles."""
        for some in self._batches(titles):
            wanted = [title for title in some if is_title(title)]
            found = self._api.by_titles(wanted) if wanted else Found()
            by_title = {page.title: page for page in found.pages}
            for title in some:
                self._take_title(title, found, by_title)
                if self._full:
                    return

    def send_members(self, members: Iterable[Titled]) -> None:
        """Sends these pages of a category."""
        for some in self._batches(members):
            found = self._api.by_ids([member.pageid for member in some])
            by_id = {page.pageid: page for page in found.pages}
            for member in some:
                page = by_id.get(member.pageid)
                self._take(self._pages.look(page) if page else Look(member.pageid, member.title, reason="api_error"))
                if self._full:
                    return

    def finish(self, timeout_s: float = 300.0) -> None:
        """Returns when everything is acknowledged. Raises TryAgain when that takes longer."""
        self._in_flight.wait(timeout_s)

    @property
    def _full(self) -> bool:
        return self._limit is not None and self.ledger.produced >= self._limit

    def _batches(self, items: Iterable[T]) -> Iterator[list[T]]:
        remaining = iter(items)
        while not self._full and self._go_on() and (some := list(islice(remaining, self._api.pages_a_call))):
            yield some

    def _count(self, page: Page | Rejected, notes: tuple[str, ...] = ()) -> None:
        self.ledger.take(Entry(Position(self.ledger.lines + 1), page, notes))

    def _take_title(self, title: str, found: Found, by_title: dict[str, WikiPage]) -> None:
        if not title:
            self.ledger.take(blank_lines(Position(self.ledger.lines + 1)))
            return
        if not is_title(title):
            self._count(Rejected("invalid_title"))
            return
        name = _resolved(title, found)
        page = by_title.get(name)
        if page is not None:
            self._take(self._pages.look(page), redirected=name != title and name != found.renamed.get(title))
        elif name in found.interwiki:
            self._count(Rejected("interwiki"))
        else:
            self._take(Look(0, title, reason="api_error"))

    def _take(self, look: Look, *, redirected: bool = False) -> None:
        if look.page is None:
            self._drop(look)
        elif look.page_id in self._sent:
            self._count(Rejected("repeated"))
        else:
            self._send(look, redirected=redirected)

    def _drop(self, look: Look) -> None:
        self._count(Rejected(look.reason))
        self._failures = self._failures + 1 if look.reason == "api_error" else 0
        if self._failures > MAX_FAILURES_IN_A_ROW:
            raise TryAgain(
                f"{self._api.url}: {self._failures} pages in a row could not be fetched, the last {look.title!r}"
            )

    def _send(self, look: Look, *, redirected: bool) -> None:
        assert look.page is not None  # noqa: S101 - for mypy
        self._failures = 0
        self._sent.add(look.page_id)
        handed = self._sender.send(look.page, self._api.url, self.ledger.lines)
        if handed is None:
            self._count(Rejected("too_large"))
            return
        self._count(look.page, (*look.notes, *(["redirect_followed"] if redirected else [])))
        self._in_flight.sent(handed.delivery, handed.size)


def _resolved(title: str, found: Found) -> str:
    """The title that this one stands for: normalised, then redirected; redirects may go in a circle."""
    seen = {title}
    while (further := found.renamed.get(title)) is not None and further not in seen:
        title = further
        seen.add(title)
    return title
