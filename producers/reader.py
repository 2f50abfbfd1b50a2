"""The contract between a source of documents and the runner: all that a new source must know.

A reader turns one file into entries, in order, from any position on. It counts nothing, sends nothing and knows no
Kafka: the runner does all that with the entries, for every source alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from pipeline.records import Page
from pipeline.rejected import Rejected
from producers.bytes.lines import Position

Tick = Callable[[], None]
"""To be called at least every second of work; raises when reading is to end."""


UNREADABLE = frozenset({"bad_type", "bad_id", "missing_id", "missing_title", "missing_text"})
"""Reasons to reject an entry that say nothing of the source: it may well have such a page."""


class Entry(NamedTuple):
    """One thing that a file says, or fails to say: the unit that the account counts as read."""

    after: Position
    """Where a restart goes on: behind this entry."""
    page: Page | Rejected | None
    """None: blank lines and nothing else. Rejected: there is no page, and why."""
    notes: tuple[str, ...] = ()
    """Names of optional fields that were wrong and left out, and whatever else is to be counted of a page that was
    kept."""
    may_be: tuple[str, ...] = ()
    """Ids of the pages that an entry which could not be read may be, as far as it names any."""
    lines: int = 1
    """Lines of the file that it is made of (rows, or pages of XML, where those are counted)."""
    blank: int = 0
    """Blank lines that were passed before its last."""

    @property
    def unreadable(self) -> bool:
        """True when no page could be made of it, though there may be one."""
        page = self.page
        return isinstance(page, Rejected) and (page.damaged or page.reason in UNREADABLE)


def ticking(blocks: Iterable[bytes], tick: Tick) -> Iterator[bytes]:
    """The blocks of a file, with a tick behind each, also where no entry comes of them, as of those of earlier runs."""
    for block in blocks:
        yield block
        tick()


def blank_lines(after: Position, count: int = 1) -> Entry:
    """The entry of lines with nothing on them."""
    return Entry(after, None, lines=0, blank=count)


class DocumentReader(Protocol):
    """Reads one file."""

    @property
    def bytes_read(self) -> int:
        """Of the file as it lies on disk: shown to whoever waits."""
        ...

    def read(self, start: Position, tick: Tick) -> Iterator[Entry]:
        """The entries from `start` on, which is the `after` of an earlier one, or the file's beginning.

        Raises:
            Damaged: the file cannot be read to its end; all before the damage has been given out.
        """
        ...
