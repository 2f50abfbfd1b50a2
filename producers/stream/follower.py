"""The state of a follower between the stream, the API and Kafka: pages to ask for, and what to send of the answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.errors import TryAgain
from pipeline.metrics import Metrics
from pipeline.records import Page
from pipeline.rejected import Rejected
from producers.api.looks import Look
from producers.stream.changes import Change, read_change
from producers.stream.events import ServerEvent
from producers.stream.pending import Known, Passed, Pending, PendingChanges
from producers.wikimedia.settings import DocumentRules

MAX_LOOKS = 4
"""With 1, 2 and 4 s between them: the API answers from replicas, which may be up to 5 s behind (`maxlag`)."""

FRESH_SECONDS = 60.0
"""No replica is so far behind an event of this age."""

MAX_FAILURES_IN_A_ROW = 20

COSTLY = frozenset({"slow_wikitext", "out_of_memory_wikitext"})
COSTLY_PAGE_SECONDS = 900.0
"""Between looks at a page that takes the parser of wikitext all the time or memory that it has: whoever edits it again
and again takes no more than a thirtieth of a processor."""

Send = Callable[[Page], bool]
"""Hands a page to Kafka; False when it is too large for it."""

Delete = Callable[[int], None]


class Follower:
    """Takes events and looks, and says what to send; without the stream, the API and Kafka."""

    def __init__(
        self,
        wiki: str,
        rules: DocumentRules,
        refetch_seconds: float,
        *,
        send: Send,
        delete: Delete,
        metrics: Metrics,
        log: Any,
    ) -> None:
        self._wiki = wiki
        self._rules = rules
        self._refetch_seconds = refetch_seconds
        self._send = send
        self._delete = delete
        self._metrics = metrics
        self._log = log
        self._passed = Passed()
        self._failures = 0
        self.pending = PendingChanges()

    @property
    def position(self) -> tuple[int, str]:
        """Number and id of the newest event up to which all is handed to Kafka; number 0: none yet."""
        return self._passed.before(self.pending.oldest)

    def hear(self, event: ServerEvent, now: float) -> None:
        """Takes an event of the stream."""
        number = self._passed.event(event.id)
        self._metrics.bytes_in.inc(len(event.data or b""))
        if event.data is None:
            change: Change | Rejected = Rejected("event_too_large")
        else:
            change = read_change(event.data, self._wiki, self._rules)
        if isinstance(change, Rejected):
            self._ignore(change.reason, event)
        elif self.pending.add(change, number, now):
            self._metrics.count(event="changes")
        else:
            self._metrics.drop("repeated")

    def see(self, batch: Sequence[Pending], looks: Sequence[Look], now: float) -> None:
        """Takes what the API said of the pages that were asked for."""
        by_id = {look.page_id: look for look in looks}
        for pending in batch:
            page_id = pending.change.page_id
            look = by_id.get(page_id) or Look(page_id, reason="api_error")
            if self._must_ask_again(pending, look):
                self._metrics.retry("look")
                self.pending.again(page_id, now + 2.0**pending.looks)
            else:
                self._settle(look, now)
                self.pending.done(page_id)

    def _ignore(self, reason: str, event: ServerEvent) -> None:
        self._metrics.drop(reason)
        if reason in ("malformed", "event_too_large"):
            self._log.warning("event not readable, passed over", reason=reason, event_id=event.id[:500])

    def _must_ask_again(self, pending: Pending, look: Look) -> bool:
        if pending.looks + 1 >= MAX_LOOKS:
            return False
        if look.failed:
            return True
        fresh = time.time() - pending.change.at < FRESH_SECONDS
        return fresh and is_behind(pending.change, look, self.pending.known(look.page_id))

    def _settle(self, look: Look, now: float) -> None:
        known = self.pending.known(look.page_id)
        self._failures = self._failures + 1 if look.failed else 0
        if look.page is not None:
            self._settle_present(look, look.page, known, now)
        elif look.gone:
            self._settle_gone(look, known, now)
        else:
            self._leave(look, now)

    def _settle_gone(self, look: Look, known: Known | None, now: float) -> None:
        self._metrics.drop(look.reason)
        if known is None or known.text_hash != "":
            self._delete(look.page_id)
            self._metrics.count(event="deleted")
        self._remember(look, "", now)

    def _settle_present(self, look: Look, page: Page, known: Known | None, now: float) -> None:
        if known is not None and (known.revision, known.text_hash) == (look.revision, page.text_hash):
            self._metrics.drop("unchanged")
        elif self._send(page):
            self._metrics.count(event="sent")
        else:
            self._metrics.drop("too_large")
        self._remember(look, page.text_hash, now)

    def _leave(self, look: Look, now: float) -> None:
        """The table keeps what it has of the page: that we cannot read it is no reason to delete it.

        A page that the server cannot give may be its fault, and of many in a row it is. That nothing can be made of
        what it gives is the page's own: whatever editors write, the others are followed.
        """
        self._metrics.drop(look.reason)
        why = f"{look.reason}: {look.detail}" if look.detail else look.reason
        self._log.error("page could not be read, left as it is", wiki=self._wiki, page=look.page_id, why=why)
        if not look.failed:
            self._remember(look, None, now)
        if self._failures > MAX_FAILURES_IN_A_ROW:
            raise TryAgain(f"{self._failures} pages in a row could not be fetched, the last for {why}")

    def _remember(self, look: Look, text_hash: str | None, now: float) -> None:
        rest = COSTLY_PAGE_SECONDS if look.reason in COSTLY else self._refetch_seconds
        self.pending.remember(look.page_id, Known(look.revision, text_hash, now + rest))


def is_behind(change: Change, look: Look, known: Known | None) -> bool:
    """True when the answer seems to be from before the change."""
    missing = look.reason == "missing"
    if change.deletes:
        return not missing and look.revision <= change.revision
    newest = max(change.revision, known.revision if known is not None else 0)
    return missing or look.revision < newest
