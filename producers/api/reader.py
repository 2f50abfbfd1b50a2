"""Pages of a wiki as entries of an account: those of some titles, or of a category."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Generic, TypeVar

from pipeline.errors import TryAgain, UsageError
from pipeline.rejected import Rejected
from producers.api.answers import Titled
from producers.api.client import Found, MediaWikiApi
from producers.api.http import waited_for
from producers.api.looks import Look, WikiPages
from producers.bytes.lines import Position
from producers.reader import Entry, Tick, blank_lines
from producers.wikimedia.links import CATEGORY, plain_name
from producers.wikimedia.titles import as_title, is_title

MAX_FAILURES_IN_A_ROW = 20

T = TypeVar("T")
Looks = Callable[[Sequence[T]], list[Look | None]]


class WikiReader(Generic[T]):
    """Reads the pages that are wanted, some a request; a position is a number of them.

    `looks` answers for some of what is wanted, in their order; None stands for a blank title. See `titled` and
    `members`.
    """

    bytes_read = 0

    def __init__(self, api: MediaWikiApi, wanted: Iterable[T], looks: Looks[T]) -> None:
        self._api = api
        self._wanted = wanted
        self._looks = looks
        self._read: set[int] = set()
        self._failures = 0

    def read(self, start: Position, tick: Tick) -> Iterator[Entry]:
        """The entries from `start` on; see `producers.reader.DocumentReader`.

        Raises:
            TryAgain: the wiki is away, or page after page cannot be fetched.
        """
        remaining = islice(self._wanted, start.line, None)
        number = start.line

        def next_ones() -> list[T]:
            return list(islice(remaining, self._api.pages_a_call))

        while some := waited_for(next_ones, tick):
            for look in waited_for(partial(self._looks, some), tick):
                number += 1
                yield self._entry(look, Position(number))

    def _entry(self, look: Look | None, after: Position) -> Entry:
        if look is None:
            return blank_lines(after)
        self._failures = self._failures + 1 if look.failed else 0
        if self._failures > MAX_FAILURES_IN_A_ROW:
            raise TryAgain(
                f"{self._api.url}: {self._failures} pages in a row could not be fetched, the last {look.title!r}"
                f" ({look.detail or look.reason})"
            )
        if look.page is None:
            return Entry(after, Rejected(look.reason, look.title))
        if look.page_id in self._read:
            return Entry(after, Rejected("repeated", look.title))
        self._read.add(look.page_id)
        return Entry(after, look.page, look.notes)


def titled(api: MediaWikiApi, pages: WikiPages, titles: Iterable[str]) -> WikiReader[str]:
    """Reads the pages with these titles, redirects followed."""

    def looks(some: Sequence[str]) -> list[Look | None]:
        wanted = [title for title in some if is_title(title)]
        found = api.by_titles(wanted) if wanted else Found()
        by_title = {page.title: pages.look(page) for page in found.pages}
        return [_look_of(title, found, by_title) if title else None for title in some]

    return WikiReader(api, titles, looks)


def members(api: MediaWikiApi, pages: WikiPages, wanted: Iterable[Titled]) -> WikiReader[Titled]:
    """Reads these pages of a category; a redirect among them is one."""

    def looks(some: Sequence[Titled]) -> list[Look | None]:
        found = api.by_ids([member.pageid for member in some])
        by_id = {look.page_id: look for look in map(pages.look, found.pages)}
        answered = [by_id.get(member.pageid) or _failed("", str(member.pageid), found) for member in some]
        # Of an id that has no page any more the wiki says no title.
        return [replace(look, title=look.title or member.title) for look, member in zip(answered, some, strict=True)]

    return WikiReader(api, wanted, looks)


def _look_of(title: str, found: Found, by_title: dict[str, Look]) -> Look:
    if not is_title(title):
        return Look(0, title, reason="invalid_title")
    name = _resolved(title, found)
    look = by_title.get(name)
    if look is None:
        return Look(0, title, reason="interwiki") if name in found.interwiki else _failed(title, title, found)
    followed = name not in (title, found.renamed.get(title))
    return replace(look, title=title, notes=(*look.notes, "redirect_followed") if followed else look.notes)


def _failed(title: str, asked: str, found: Found) -> Look:
    return Look(0, title, reason="api_error", detail=found.failed.get(asked, ""))


def _resolved(title: str, found: Found) -> str:
    """The title that this one stands for: normalised, then redirected; redirects may go in a circle."""
    seen = {title}
    while (further := found.renamed.get(title)) is not None and further not in seen:
        title = further
        seen.add(title)
    return title


def titles_in(text: str) -> list[str]:
    """`A|B` to its titles; a blank one is kept, to be counted."""
    return [as_title(title) for title in text.split("|")]


def pages_in(api: MediaWikiApi, category: str, depth: int) -> Iterator[Titled]:
    """The pages of a category and of its subcategories down to `depth`, each once; categories contain each other."""
    name = as_title(category)
    if plain_name(name.partition(":")[0]) not in api.site().names.category:
        name = f"Category:{name}"
    if not is_title(name):
        raise UsageError(f"--category: {category!r} is no title")
    waiting, seen_categories, seen_pages = deque([(name, 0)]), {name}, set[int]()
    while waiting:
        parent, level = waiting.popleft()
        for member in api.members(parent):
            if member.ns == CATEGORY and level < depth and member.title not in seen_categories:
                seen_categories.add(member.title)
                waiting.append((member.title, level + 1))
            if member.pageid > 0 and member.pageid not in seen_pages:
                seen_pages.add(member.pageid)
                yield member
