"""A change event of a wiki to the page that must be looked at, or to why it concerns nobody here.

An event is only a reason to look: what is sent is the page's state when we look. So events that repeat, come late or
change places do no harm. Fields: https://schema.wikimedia.org/repositories/primary/jsonschema/mediawiki/page/change/.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from pipeline.rejected import Rejected
from producers.wikimedia.settings import DocumentRules

EDITS = frozenset({"edit", "create", "move"})
"""Kinds that make a revision: with one of the same number seen, they tell nothing new."""

CANARY = "canary"
"""The domain of events that are made every hour to show that the stream works."""


@dataclass(frozen=True, slots=True)
class Change:
    """A page that has changed."""

    page_id: int
    kind: str
    """`edit`, `create`, `move`, `delete`, `undelete`, `visibility_change`, or what may be added to these."""
    revision: int
    """The page's newest at the time; of a visibility change, the one that it is about. 0: not said."""
    at: float
    """When the event was made, in Unix time; 0: not said."""

    @property
    def deletes(self) -> bool:
        return self.kind == "delete"


class _Meta(msgspec.Struct):
    domain: str = ""
    dt: str = ""


class _Page(msgspec.Struct):
    page_id: int
    namespace_id: int
    is_redirect: bool = False


class _PriorPage(msgspec.Struct):
    namespace_id: int | None = None


class _PriorState(msgspec.Struct):
    page: _PriorPage | None = None


class _Revision(msgspec.Struct):
    rev_id: int = 0


class _Event(msgspec.Struct):
    wiki_id: str
    page_change_kind: str
    page: _Page
    meta: _Meta
    dt: str = ""
    revision: _Revision | None = None
    prior_state: _PriorState | None = None


class _Address(msgspec.Struct):
    meta: _Meta
    wiki_id: str = ""


_event = msgspec.json.Decoder(_Event)
_address = msgspec.json.Decoder(_Address)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

MAX_PAGE_ID = 2**32 - 1
"""MediaWiki's column holds no larger one, and its API refuses a request that names one."""


def read_change(data: bytes, wiki: str, rules: DocumentRules) -> Change | Rejected:
    """The change that a follower of this wiki's pages has to look at, or the reason why there is none."""
    try:
        address = _address.decode(data)  # two fields of sixty: most events are for others
        if address.meta.domain == CANARY:
            return Rejected(CANARY)
        if address.wiki_id != wiki:
            return Rejected("other_wiki")
        event = _event.decode(data)
    except _UNREADABLE:
        return Rejected("malformed")
    if reason := _unwanted(event, rules):
        return Rejected(reason)
    if not 0 < event.page.page_id <= MAX_PAGE_ID:
        return Rejected("malformed")
    revision = event.revision.rev_id if event.revision else 0
    return Change(event.page.page_id, event.page_change_kind, revision, _unix_time(event.meta.dt or event.dt))


def _unwanted(event: _Event, rules: DocumentRules) -> str:
    if not rules.namespaces & {event.page.namespace_id, _namespace_before(event)}:
        return "namespace"
    if event.page_change_kind == "create" and event.page.is_redirect and rules.redirects != "page":
        # Nothing of it can be in the table. Of an edit that leaves a redirect we cannot know.
        return "redirect"
    return ""


def _namespace_before(event: _Event) -> int:
    """`prior_state.page` has only what was different before."""
    prior = event.prior_state.page if event.prior_state else None
    if prior is None or prior.namespace_id is None:
        return event.page.namespace_id
    return prior.namespace_id


def _unix_time(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
