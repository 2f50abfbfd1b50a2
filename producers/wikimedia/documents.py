"""A document of a CirrusSearch index to a page, or to the reason why it is none."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import msgspec

from pipeline.records import Page, text_hash, valid_page_id, valid_wiki
from pipeline.rejected import Rejected
from producers.wikimedia.disambiguation import is_disambiguation
from producers.wikimedia.fields import Document, decode
from producers.wikimedia.references import without_references
from producers.wikimedia.settings import DocumentRules
from producers.wikimedia.sites import page_url, site

INT64_MAX = 2**63 - 1

_DECIDED_BY = {
    "redirect": "page_type",
    "namespace": "namespace",
    "content_model": "content_model",
    "disambiguation": "category",
    "category": "category",
    "unpopular": "popularity_score",
}
"""Reason to leave a document out -> the field that says so."""

T = TypeVar("T")


class DocumentReader:
    """Makes pages of the documents of one wiki's snapshot, as the rules have it.

    `wiki` is for documents that do not name theirs; both are empty where nothing says them.
    """

    def __init__(self, wiki: str, snapshot: str, rules: DocumentRules) -> None:
        self._wiki = wiki
        self._snapshot = snapshot
        self._rules = rules

    def read(
        self, named: str, data: bytes | bytearray, notes: list[str], *, lost_action: bool = False
    ) -> Page | Rejected:
        """The page in `data`, or why there is none.

        `named` is the id that its action line names, empty where that has none or, with `lost_action`, there is no such
        line. Fields that were wrong and left out are added to `notes`.
        """
        document = decode(data, notes)
        if isinstance(document, Rejected):
            return document
        if reason := self._unwanted(document):
            # A field that could not be read decides nothing.
            return Rejected("bad_type" if _DECIDED_BY[reason] in notes else reason)
        page_id = _page_id(document, named, lost_action, notes)
        return self._page(document, page_id, notes) if isinstance(page_id, str) else page_id

    def _unwanted(self, document: Document) -> str:
        """The reason why the document is left out, whatever its id is."""
        rules = self._rules
        if document.page_type == "redirect" and rules.redirects != "page":
            return "redirect"
        if (document.namespace or 0) not in rules.namespaces:
            return "namespace"
        if document.content_model not in (None, "", "wikitext"):
            return "content_model"
        return self._filtered(document)

    def _filtered(self, document: Document) -> str:
        rules = self._rules
        if rules.disambiguation == "skip" and is_disambiguation(document.category or ()):
            return "disambiguation"
        if rules.categories and rules.categories.isdisjoint(name.casefold() for name in document.category or ()):
            return "category"
        if rules.min_popularity > (document.popularity_score or 0.0):
            return "unpopular"
        return ""

    def _page(self, document: Document, page_id: str, notes: list[str]) -> Page | Rejected:
        title = _full_title(document)
        if not title:
            return Rejected("missing_title")
        if self._rules.pages is not None and self._rules.pages.isdisjoint((page_id, title)):
            return Rejected("not_listed")
        text = self._text(document, title)
        if not text or text.isspace():
            return Rejected("empty" if document.text is not None else "missing_text")
        wiki = self._wiki_of(document, notes)
        if not wiki:
            return Rejected("missing_wiki")
        return Page(
            wiki=wiki,
            page_id=page_id,
            title=title,
            text=text,
            opening_text=document.opening_text or "",
            revision=_kept("version", document.version, _is_count, notes),
            url=page_url(wiki, title),
            timestamp=document.timestamp or "",
            categories=tuple(document.category or ()),
            aliases=() if self._rules.redirects == "skip" else _aliases(document),
            incoming_links=_kept("incoming_links", document.incoming_links, _is_count, notes),
            popularity_score=_kept("popularity_score", document.popularity_score, math.isfinite, notes),
            language=document.language or site(wiki)[1],
            namespace=document.namespace or 0,
            snapshot=self._snapshot,
            text_hash=text_hash(title, text),
            metadata=_metadata(document),
        )

    def _text(self, document: Document, title: str) -> str:
        text = document.text or ""
        if document.page_type == "redirect":
            return text or title  # all that a redirect says
        return without_references(text, document.heading or ()) if self._rules.references == "drop" else text

    def _wiki_of(self, document: Document, notes: list[str]) -> str:
        if document.wiki and valid_wiki(document.wiki):
            return document.wiki
        if document.wiki:
            notes.append("wiki")
        return self._wiki


def _page_id(document: Document, named: str, lost_action: bool, notes: list[str]) -> str | Rejected:
    """The document's own id, or the action's: the layout used until 2025 has it only there.

    When both are there and differ, one of them is damaged or lines were lost between them: sending the page under
    either could overwrite a neighbour.
    """
    own = "" if document.page_id is None else str(document.page_id)
    if own and named and own != named:
        return Rejected("id_mismatch", damaged=True)
    page_id = own or named
    if not page_id:
        return Rejected("lost_action", damaged=True) if lost_action else Rejected("missing_id")
    if not valid_page_id(page_id) or page_id.startswith("-"):
        return Rejected("bad_type")
    if lost_action:
        notes.append("lost_action")
    return page_id


def _full_title(document: Document) -> str:
    """`Talk:Amber`: the index has the namespace's name in a field of its own."""
    title = (document.title or "").strip()
    return f"{document.namespace_text}:{title}" if title and document.namespace and document.namespace_text else title


def _aliases(document: Document) -> tuple[str, ...]:
    titles = [r.title for r in document.redirect or () if r.title and not r.namespace and r.title != document.title]
    return tuple(dict.fromkeys(titles))


def _metadata(document: Document) -> str:
    item = document.wikibase_item
    return msgspec.json.encode({"wikibase_item": item}).decode() if item else ""


def _is_count(number: int) -> bool:
    return 0 <= number <= INT64_MAX


def _kept(name: str, value: T | None, good: Callable[[T], bool], notes: list[str]) -> T | None:
    if value is None or good(value):
        return value
    notes.append(name)
    return None
