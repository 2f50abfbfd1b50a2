"""A page as a wiki describes it, to a page of ours: the same that a dump would have given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import msgspec.structs

from pipeline.errors import CirrostreamError, Stopped, one_line
from pipeline.records import Page
from pipeline.rejected import Rejected
from producers.api.answers import WikiPage
from producers.api.client import WikiSite
from producers.wikimedia.documents import DocumentReader
from producers.wikimedia.parser_child import Parsed
from producers.wikimedia.settings import DocumentRules
from producers.wikimedia.sites import as_path

GONE = frozenset({"missing", "redirect", "namespace", "empty", "content_model", "disambiguation", "hidden"})
"""Reasons for which a page does not belong into the table now. With any other one we only could not read it."""

FAILED = frozenset({"api_error", "no_content"})
"""Reasons that say nothing of the page: the server did not give it this time."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])

Parse = Callable[[str], Parsed | Rejected]


@dataclass(frozen=True, slots=True)
class Look:
    """A page as the wiki has it now: there, or not there for a reason."""

    page_id: int
    title: str = ""
    revision: int = 0
    page: Page | None = None
    reason: str = ""
    detail: str = ""
    notes: tuple[str, ...] = ()

    @property
    def gone(self) -> bool:
        """True when the table must not have it."""
        return self.page is None and self.reason in GONE

    @property
    def failed(self) -> bool:
        """True when another look may bring more."""
        return self.page is None and self.reason in FAILED


class WikiPages:
    """Makes pages of what one wiki's API answers; the wiki's name is ours, which keys are made of.

    `parse` is for wikis that give wikitext: it must end by itself, whatever the text is.
    """

    def __init__(self, wiki: str, rules: DocumentRules, site: WikiSite, parse: Parse) -> None:
        self._wiki = wiki
        self._rules = rules
        self._site = site
        self._parse = parse
        self._reader = DocumentReader(wiki, "", rules)

    def look(self, said: WikiPage) -> Look:
        """The page, or why there is none. No page's content makes it raise."""
        try:
            return self._look(said)
        except (CirrostreamError, Stopped):
            raise
        except Exception as error:  # noqa: BLE001 - the next page has done nothing wrong
            return self._without(said, "bad_page", one_line(error))

    def _look(self, said: WikiPage) -> Look:
        if said.invalid:
            return Look(0, said.title, reason="invalid_title")
        if said.absent:
            return Look(said.pageid, said.title, reason="missing")
        if said.redirect and self._rules.redirects != "page":
            return self._without(said, "redirect")
        if said.ns not in self._rules.namespaces:
            return self._without(said, "namespace")
        notes: list[str] = []
        document = _fields.decode(said.cirrusbuilddoc) if bytes(said.cirrusbuilddoc) else self._written(said, notes)
        if isinstance(document, Rejected):
            return self._without(said, document.reason, document.detail)
        return self._read(said, document | {"wiki": _raw(self._wiki), "page_id": _raw(said.pageid)}, notes)

    def _read(self, said: WikiPage, document: dict[str, msgspec.Raw], notes: list[str]) -> Look:
        page = self._reader.read(str(said.pageid), msgspec.json.encode(document), notes)
        if isinstance(page, Rejected):
            return self._without(said, "not_a_document" if page.damaged else page.reason, page.detail)
        # A wiki of one's own may be called as if it were one of Wikimedia's: it knows its addresses better than we.
        page = msgspec.structs.replace(page, url=self._url(said, page), language=page.language or self._site.language)
        return Look(said.pageid, page.title, page.revision or said.lastrevid, page, notes=tuple(notes))

    def _url(self, said: WikiPage, page: Page) -> str:
        if said.canonicalurl.startswith(("https://", "http://")):
            return said.canonicalurl
        return self._site.base + as_path(page.title) if self._site.base else page.url

    def _without(self, said: WikiPage, reason: str, detail: str = "") -> Look:
        return Look(said.pageid, said.title, said.lastrevid, reason=reason, detail=detail)

    def _written(self, said: WikiPage, notes: list[str]) -> dict[str, msgspec.Raw] | Rejected:
        """A document made of the wikitext, with the names that CirrusSearch gives the fields; what of the markup is
        left is added to `notes`."""
        if not said.revisions:
            return Rejected("redirect" if said.unrenderable else "no_content")
        revision = said.revisions[0]
        main = revision.slots.get("main")
        if main is None or main.content is None:
            return Rejected("hidden")
        if main.contentmodel not in ("", "wikitext"):
            return Rejected("content_model")
        fields: dict[str, object] = {
            "page_type": "redirect" if said.redirect else "primary",
            "namespace": said.ns,
            "title": said.title,
            "version": revision.revid,
            "timestamp": revision.timestamp,
            "language": said.pagelanguage or self._site.language,
            "content_model": "wikitext",
            "category": [entry.title.partition(":")[2] for entry in said.categories],
            "redirect": [{"title": entry.title, "namespace": entry.ns} for entry in said.redirects],
        }
        if not said.redirect:
            parsed = self._parse(main.content)
            if isinstance(parsed, Rejected):
                return parsed
            notes.extend(parsed.left)
            fields |= {"text": parsed.text, "opening_text": parsed.opening_text, "heading": parsed.headings}
        return {name: _raw(value) for name, value in fields.items()}


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
