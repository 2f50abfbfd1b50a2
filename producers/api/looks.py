"""What a wiki says of a page, to a page of ours: the same that a dump would have given."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import msgspec.structs

from pipeline.records import Page
from pipeline.rejected import Rejected
from producers.api.answers import WikiPage
from producers.wikimedia.documents import DocumentReader
from producers.wikimedia.settings import DocumentRules

GONE = frozenset({"missing", "redirect", "namespace", "empty", "content_model", "disambiguation", "hidden"})
"""Reasons for which a page does not belong into the table now. With any other one we only could not read it."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Look:
    """A page as the wiki has it now: there, or not there for a reason."""

    page_id: int
    title: str = ""
    revision: int = 0
    page: Page | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def gone(self) -> bool:
        """Whether the table must not have it."""
        return self.page is None and self.reason in GONE


class WikiPages:
    """Makes pages of what one wiki's API answers; the wiki's name is ours, which keys are made of."""

    def __init__(self, wiki: str, rules: DocumentRules) -> None:
        self._wiki = wiki
        self._rules = rules
        self._reader = DocumentReader(wiki, "", rules)

    def look(self, said: WikiPage) -> Look:
        """The page, or why there is none."""
        if said.invalid:
            return Look(0, said.title, reason="invalid_title")
        if said.absent:
            return Look(said.pageid, said.title, reason="missing")
        if said.redirect and self._rules.redirects != "page":
            return self._without(said, "redirect")
        if said.ns not in self._rules.namespaces:
            return self._without(said, "namespace")
        document = self._built(said) if bytes(said.cirrusbuilddoc) else _written(said)
        if isinstance(document, str):
            return self._without(said, document)
        return self._read(said, document | {"wiki": _raw(self._wiki), "page_id": _raw(said.pageid)})

    def _read(self, said: WikiPage, document: dict[str, msgspec.Raw]) -> Look:
        notes: list[str] = []
        page = self._reader.read(str(said.pageid), msgspec.json.encode(document), notes)
        if isinstance(page, Rejected):
            return self._without(said, "not_a_document" if page.damaged else page.reason)
        # A wiki of one's own may be called as if it were one of Wikimedia's: it knows its addresses better than we.
        if said.canonicalurl.startswith(("https://", "http://")):
            page = msgspec.structs.replace(page, url=said.canonicalurl)
        return Look(said.pageid, page.title, page.revision or said.lastrevid, page, notes=tuple(notes))

    def _without(self, said: WikiPage, reason: str) -> Look:
        return Look(said.pageid, said.title, said.lastrevid, reason=reason)

    def _built(self, said: WikiPage) -> dict[str, msgspec.Raw] | str:
        try:
            return _fields.decode(said.cirrusbuilddoc)
        except msgspec.DecodeError:
            return "not_a_document"


def _written(said: WikiPage) -> dict[str, msgspec.Raw] | str:
    """A document made of the wikitext, with the names that CirrusSearch gives the fields; or why there is none."""
    if not said.revisions:
        return "redirect" if said.unrenderable else "no_content"
    revision = said.revisions[0]
    main = revision.slots.get("main")
    if main is None or main.content is None:
        return "hidden"
    if main.contentmodel not in ("", "wikitext"):
        return "content_model"
    fields: dict[str, object] = {
        "page_type": "redirect" if said.redirect else "primary",
        "namespace": said.ns,
        "title": said.title,
        "version": revision.revid,
        "timestamp": revision.timestamp,
        "language": said.pagelanguage,
        "content_model": "wikitext",
        "category": [entry.title.partition(":")[2] for entry in said.categories],
        "redirect": [{"title": entry.title, "namespace": entry.ns} for entry in said.redirects],
    }
    if not said.redirect:
        fields |= _prose(main.content)
    return {name: _raw(value) for name, value in fields.items()}


def _prose(wikitext: str) -> dict[str, object]:
    from producers.wikimedia.prose import (
        read_article,  # its parser takes a while to load, and most wikis need none
    )

    article = read_article(wikitext)
    return {"text": article.text, "opening_text": article.opening_text, "heading": article.headings}


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
