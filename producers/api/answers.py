"""Answers of the MediaWiki Action API, in its `formatversion=2`; unknown fields are passed over.

https://www.mediawiki.org/wiki/API:Query
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TypeVar
from urllib.parse import unquote

import msgspec

from producers.bytes.lines import repair_text


class Slot(msgspec.Struct):
    """One part of a revision; the text is in the one called `main`."""

    contentmodel: str = ""
    content: str | None = None


class Revision(msgspec.Struct):
    revid: int = 0
    timestamp: str = ""
    slots: dict[str, Slot] = {}


class Titled(msgspec.Struct):
    """A page that is only named: a member of a category, a redirect, a category of a page."""

    title: str = ""
    ns: int = 0
    pageid: int = 0


class WikiPage(msgspec.Struct):
    """One page, as the wiki has it; parts come in several answers when they are many."""

    title: str = ""
    ns: int = 0
    pageid: int = 0
    missing: bool = False
    invalid: bool = False
    redirect: bool = False
    lastrevid: int = 0
    contentmodel: str = ""
    pagelanguage: str = ""
    canonicalurl: str = ""
    cirrusbuilddoc: msgspec.Raw = msgspec.Raw()
    unrenderable: bool = False
    """The answer of CirrusSearch about a redirect where it makes no documents of them."""
    revisions: list[Revision] = []
    categories: list[Titled] = []
    redirects: list[Titled] = []

    @property
    def absent(self) -> bool:
        """True when there is no such page: Special: pages are not missing, but have no id."""
        return self.missing or self.invalid or not self.pageid

    def add(self, more: WikiPage) -> None:
        """Takes over what a further answer says of the same page."""
        self.categories.extend(more.categories)
        self.redirects.extend(more.redirects)
        self.revisions = self.revisions or more.revisions
        self.lastrevid = self.lastrevid or more.lastrevid
        if not bytes(self.cirrusbuilddoc):
            self.cirrusbuilddoc = more.cirrusbuilddoc


class Renamed(msgspec.Struct, rename={"from_": "from"}):
    """A title that was asked for, and the one that it stands for."""

    from_: str
    to: str
    fromencoded: bool = False
    """The title that was asked for was not in NFC: `from_` has it percent-encoded."""

    @property
    def asked(self) -> str:
        """The title as it was asked for."""
        return unquote(self.from_) if self.fromencoded else self.from_


class General(msgspec.Struct):
    wikiid: str = ""
    lang: str = ""
    sitename: str = ""
    base: str = ""
    """Address of the main page."""


class Namespace(msgspec.Struct):
    name: str = ""
    canonical: str = ""


class Alias(msgspec.Struct):
    """A further name of the namespace `id`."""

    id: int
    alias: str = ""


class User(msgspec.Struct):
    """The one who asks, as the wiki sees it."""

    id: int = 0
    """0: nobody that it knows."""
    name: str = ""
    groups: list[str] = []


class Extension(msgspec.Struct):
    name: str = ""


class Query(msgspec.Struct):
    pages: list[msgspec.Raw] = []
    """Each to be read by itself: an odd one costs no other."""
    normalized: list[Renamed] = []
    redirects: list[Renamed] = []
    interwiki: list[Titled] = []
    categorymembers: list[Titled] = []
    general: General | None = None
    extensions: list[Extension] = []
    namespaces: dict[str, Namespace] = {}
    namespacealiases: list[Alias] = []
    userinfo: User | None = None

    def read_pages(self) -> Iterator[WikiPage]:
        """The pages as far as they can be read: who asked for another one notices."""
        for page in self.pages:
            with suppress(*_UNREADABLE):
                yield _decoded(_page, page)


class Problem(msgspec.Struct):
    code: str = ""
    info: str = ""


class Answer(msgspec.Struct, rename={"continue_": "continue"}):
    query: Query | None = None
    error: Problem | None = None
    continue_: dict[str, str | int] = {}
    """Parameters of the request that brings the rest; empty when this was all."""


T = TypeVar("T")

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_answer = msgspec.json.Decoder(Answer)
_page = msgspec.json.Decoder(WikiPage)


def decode(data: bytes) -> Answer:
    """The answer, with U+FFFD for bytes and escapes that are no text.

    Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError when it is none.
    """
    return _decoded(_answer, data)


def _decoded(decoder: msgspec.json.Decoder[T], data: bytes | msgspec.Raw) -> T:
    try:
        return decoder.decode(data)
    except _UNREADABLE:
        if (repaired := repair_text(bytes(data))) is None:
            raise
        return decoder.decode(repaired)
