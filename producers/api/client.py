"""The few questions that we ask a wiki: what it is, its pages as they are now, who is in a category.

Pages come as `prop=cirrusbuilddoc` where the wiki has CirrusSearch: the document as its index would have it now, in
the very form of the dumps. Elsewhere they come as wikitext. The traps: an answer holds 8 MiB, and what does not fit is
left out, for wikitext with a continuation, for documents with a mere warning. And documents are built under a lock for
the whole wiki, so `concurrency-limit` is an ordinary answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.errors import Fatal
from pipeline.settings import MIB
from producers.api.answers import Answer, General, Query, Titled, User, WikiPage
from producers.api.http import ApiHttp, BadAnswer, TooMuchAsked
from producers.wikimedia.links import ENGLISH, LinkNames

DOCUMENTS_A_CALL = 20
"""Each is built for us and has about 100 kB with its wikitext: 50, what the API allows, may not fit in one answer."""

PAGES_A_CALL = 50
MAX_CONTINUATIONS = 500
MAX_CONTINUED_BYTES = 256 * MIB
"""Of pages in all answers to one question."""

_SITE = {
    "action": "query",
    "meta": "siteinfo|userinfo",
    "siprop": "general|extensions|namespaces|namespacealiases",
    "uiprop": "groups",
}
_INFO = {"action": "query", "inprop": "url"}
_DOCUMENT = _INFO | {"prop": "info|cirrusbuilddoc"}
_WIKITEXT = _INFO | {
    "prop": "info|revisions|categories|redirects",
    "rvprop": "ids|timestamp|content",
    "rvslots": "main",
    "cllimit": "max",
    "rdlimit": "max",
    "rdprop": "title",
}


@dataclass(frozen=True, slots=True)
class WikiSite:
    """The wiki's account of itself."""

    wiki_id: str
    name: str
    has_documents: bool
    """True when CirrusSearch is there to build documents."""
    language: str = ""
    base: str = ""
    """Address of its pages without the title, such as `https://en.wikipedia.org/wiki/`."""
    names: LinkNames = ENGLISH
    user: User = field(default_factory=User)
    """Who we are there."""


@dataclass(slots=True)
class Found:
    """The answer about some titles or ids."""

    pages: list[WikiPage] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    """Title as asked for, or as normalised -> title that it stands for."""
    interwiki: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    """Title or id that even a request of its own brought no answer for -> what came instead."""

    def add(self, more: Found) -> None:
        self.pages += more.pages
        self.renamed |= more.renamed
        self.interwiki |= more.interwiki
        self.failed |= more.failed


class MediaWikiApi:
    """One wiki's API. Its methods may be called by several threads; what they raise is said at `ApiHttp.ask`."""

    def __init__(self, http: ApiHttp) -> None:
        self._http = http
        self._site: WikiSite | None = None

    @property
    def url(self) -> str:
        return self._http.url

    def site(self) -> WikiSite:
        """The wiki's account of itself; asked once."""
        if self._site is None:
            answer = self._http.ask(_SITE)
            if answer.query is None or answer.query.general is None or not answer.query.general.wikiid:
                raise Fatal(f"{self.url}: does not say which wiki it is; is --api right?")
            self._site = _site(answer.query, answer.query.general)
        return self._site

    @property
    def pages_a_call(self) -> int:
        """The number of pages to ask for at a time."""
        return DOCUMENTS_A_CALL if self.site().has_documents else PAGES_A_CALL

    def by_ids(self, page_ids: Sequence[int]) -> Found:
        """The pages with these ids, as they are now; of one that does not exist, its id as missing."""
        return self._pages("pageids", [str(page_id) for page_id in page_ids], {})

    def by_titles(self, titles: Sequence[str]) -> Found:
        """The pages with these titles, redirects followed to where they lead."""
        return self._pages("titles", titles, {"redirects": "1"})

    def members(self, category: str) -> Iterator[Titled]:
        """Pages and subcategories in a category, whose title has its namespace's name."""
        parameters = {
            "action": "query",
            "list": "categorymembers",
            "cmtitle": category,
            "cmprop": "ids|title",
            "cmtype": "page|subcat",
            "cmlimit": "max",
        }
        for query in self._continued(parameters, bound=None):
            yield from query.categorymembers

    def _pages(self, what: str, names: Sequence[str], more: Mapping[str, str]) -> Found:
        """Asks for all at once, and for halves where that is too much."""
        found = Found()
        waiting = [list(names)]
        while waiting:
            some = waiting.pop()
            try:
                answered = self._ask(what, some, more)
            except (TooMuchAsked, BadAnswer) as error:
                if len(some) == 1:
                    self._is_up()
                    found.failed[some[0]] = str(error)
                else:
                    waiting += [some[: len(some) // 2], some[len(some) // 2 :]]
                continue
            cut = self._cut_out(answered)
            if cut and len(some) > 1:
                answered.pages = [page for page in answered.pages if page.pageid not in cut]
                # By their ids now: the titles may have been other ones.
                found.add(self._apart(cut))
            found.add(answered)
        return found

    def _is_up(self) -> None:
        """Raises TryAgain or Fatal when not the page is at fault but the server."""
        self._http.ask({"action": "query", "meta": "siteinfo", "siprop": "general"})

    def _apart(self, page_ids: Sequence[int]) -> Found:
        found = Found()
        for page_id in page_ids:
            found.add(self._pages("pageids", [str(page_id)], {}))
        return found

    def _cut_out(self, found: Found) -> list[int]:
        """Pages whose document did not fit into the answer."""
        if not self.site().has_documents:
            return []
        return [p.pageid for p in found.pages if not (p.absent or p.unrenderable or bytes(p.cirrusbuilddoc))]

    def _ask(self, what: str, names: Sequence[str], more: Mapping[str, str]) -> Found:
        """One request and its continuations; a page may come in pieces."""
        form = _DOCUMENT if self.site().has_documents else _WIKITEXT
        parameters = {**form, **more, what: "|".join(names)}
        found = Found()
        pages: dict[tuple[int, str], WikiPage] = {}
        size = 0
        for query in self._continued(parameters, bound=MAX_CONTINUATIONS):
            size += sum(memoryview(page).nbytes for page in query.pages)
            if size > MAX_CONTINUED_BYTES:
                raise TooMuchAsked(f"{self.url}: answers of more than {MAX_CONTINUED_BYTES:,} bytes to one question")
            for page in query.read_pages():
                known = pages.setdefault((page.pageid, page.title), page)
                if known is not page:
                    known.add(page)
            found.renamed |= {entry.asked: entry.to for entry in (*query.normalized, *query.redirects)}
            found.interwiki |= {entry.title for entry in query.interwiki}
        found.pages = list(pages.values())
        return found

    def _continued(self, parameters: Mapping[str, str], bound: int | None) -> Iterator[Query]:
        """The answer, and the further ones that it takes. Raises TooMuchAsked when they do not come to an end.

        Without a bound, as many as bring something.
        """
        asked = dict(parameters)
        count = 0
        while True:
            answer: Answer = self._http.ask(asked, divisible="|" in asked.get("pageids", asked.get("titles", "")))
            query = answer.query or Query()
            yield query
            if not answer.continue_:
                return
            following = dict(parameters) | {name: str(value) for name, value in answer.continue_.items()}
            count = 0 if bound is None and query.categorymembers else count + 1
            if following == asked or count > (bound or MAX_CONTINUATIONS):
                raise TooMuchAsked(f"{self.url}: {count} continuations of one request")
            asked = following


def _site(query: Query, general: General) -> WikiSite:
    base = general.base if general.base.startswith(("http://", "https://")) else ""
    return WikiSite(
        general.wikiid,
        general.sitename,
        any(extension.name == "CirrusSearch" for extension in query.extensions),
        general.lang,
        base[: base.rfind("/") + 1],
        LinkNames.of(_namespaces(query)),
        query.userinfo or User(),
    )


def _namespaces(query: Query) -> Iterator[tuple[int, str]]:
    """Numbers and names of namespaces, with all their aliases."""
    for key, namespace in query.namespaces.items():
        yield from ((int(key), name) for name in (namespace.name, namespace.canonical) if key.isdecimal())
    yield from ((alias.id, alias.alias) for alias in query.namespacealiases)
