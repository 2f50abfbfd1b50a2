"""What the MediaWiki Action API answers, in its `formatversion=2`; unknown fields are passed over.

https://www.mediawiki.org/wiki/API:Query
"""

from __future__ import annotations

import msgspec


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
    """What the wiki says of one page; parts come in several answers when they are many."""

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
    """What CirrusSearch says of a redirect where it makes no documents of them."""
    revisions: list[Revision] = []
    categories: list[Titled] = []
    redirects: list[Titled] = []

    @property
    def absent(self) -> bool:
        """Whether there is no such page: Special: pages are not missing, but have no id."""
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


class General(msgspec.Struct):
    wikiid: str = ""
    lang: str = ""
    sitename: str = ""


class Extension(msgspec.Struct):
    name: str = ""


class Query(msgspec.Struct):
    pages: list[WikiPage] = []
    normalized: list[Renamed] = []
    redirects: list[Renamed] = []
    interwiki: list[Titled] = []
    categorymembers: list[Titled] = []
    general: General | None = None
    extensions: list[Extension] = []


class Problem(msgspec.Struct):
    code: str = ""
    info: str = ""


class Answer(msgspec.Struct, rename={"continue_": "continue"}):
    query: Query | None = None
    error: Problem | None = None
    continue_: dict[str, str | int] = {}
    """Parameters of the request that brings the rest; empty when this was all."""


_answer = msgspec.json.Decoder(Answer)


def decode(data: bytes) -> Answer:
    """The answer. Raises msgspec.DecodeError, or UnicodeDecodeError, when it is none."""
    return _answer.decode(data)
