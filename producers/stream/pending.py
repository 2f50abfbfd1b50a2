"""Pages that have changed and are still to be looked at: each once, however many events it has had."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from producers.stream.changes import EDITS, Change

SETTLE_SECONDS = 0.5
"""A move, or a rollback, makes several events at once; and one request takes many pages."""

REMEMBERED = 50_000

EVENTS_A_MARK = 20
"""An event's id has some 250 bytes, and one slow page may hold back thousands of events."""


@dataclass(slots=True)
class Pending:
    """A page to look at."""

    change: Change
    """The newest one of those that were heard of."""
    first: int
    """Number of the oldest event that this look is for."""
    due: float
    looks: int = 0
    """Looks so far whose answer was older than the change."""


@dataclass(frozen=True, slots=True)
class Known:
    """The last look at a page."""

    revision: int
    """0 when there was no such page."""
    text_hash: str | None
    """Of what was sent last. Empty: a tombstone; None: not known, for nothing could be made of that revision."""
    again_at: float
    """Before this time no edit alone is a reason to look again."""


class PendingChanges:
    """The pages to look at, and the times for it. Times are of a monotonic clock.

    A page is looked at by one request at a time: of two answers the older might come last.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, Pending] = {}
        self._in_hand: dict[int, Pending] = {}
        self._known: OrderedDict[int, Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_hand)

    @property
    def oldest(self) -> int | None:
        """Number of the oldest event whose page is still to be looked at; None: there is none."""
        numbers = [pending.first for group in (self._waiting, self._in_hand) for pending in group.values()]
        return min(numbers, default=None)

    def add(self, change: Change, number: int, now: float) -> bool:
        """Takes up a change; False when what was sent already has it."""
        known = self._known.get(change.page_id)
        if known is not None and change.kind in EDITS and 0 < change.revision <= known.revision:
            return False
        due = now + SETTLE_SECONDS
        if change.kind == "edit" and known is not None:
            due = max(due, known.again_at)
        pending = self._waiting.setdefault(change.page_id, Pending(change, number, due))
        pending.due = min(pending.due, due)
        if change.at >= pending.change.at:
            pending.change = change
        return True

    def take(self, now: float, limit: int) -> list[Pending]:
        """Up to `limit` pages whose time has come, oldest events first; they are in hand until `done` or `again`."""
        ready = [p for key, p in self._waiting.items() if p.due <= now and key not in self._in_hand]
        chosen = sorted(ready, key=lambda pending: pending.first)[:limit]
        for pending in chosen:
            self._in_hand[pending.change.page_id] = self._waiting.pop(pending.change.page_id)
        return chosen

    def done(self, page_id: int) -> None:
        """The look has led to something."""
        del self._in_hand[page_id]

    def again(self, page_id: int, due: float) -> None:
        """Looks again later: the answer was older than the change."""
        pending = self._in_hand.pop(page_id)
        pending.looks += 1
        pending.due = due
        newer = self._waiting.get(page_id)
        if newer is None:
            self._waiting[page_id] = pending
        else:
            newer.first = min(newer.first, pending.first)

    def known(self, page_id: int) -> Known | None:
        """The last look at the page, if that was lately."""
        return self._known.get(page_id)

    def remember(self, page_id: int, known: Known) -> None:
        self._known[page_id] = known
        self._known.move_to_end(page_id)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


class Passed:
    """The ids of the events that were heard, until everything up to them is done."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, str]] = deque()
        self._last = (0, "")

    def event(self, event_id: str) -> int:
        """Takes note of an event, and gives its number."""
        number = self._last[0] + 1
        if number % EVENTS_A_MARK == 1 and self._last[1]:
            self._marks.append(self._last)
        self._last = (number, event_id)
        return number

    def before(self, open_: int | None) -> tuple[int, str]:
        """The newest event known here that is older than the oldest open one; number 0 when there is none."""
        if open_ is None:
            self._marks.clear()
            return self._last
        found = (0, "")
        while self._marks and self._marks[0][0] < open_:
            found = self._marks.popleft()
        if found[0]:
            self._marks.appendleft(found)
        return found
