"""A document of a CirrusSearch index to a page, or to the reason why it is none.

Only the fields that we need are ever built: skipping the rest (half of a document is its wikitext) is what makes
msgspec twice as fast as a full parser here. A document of the expected types takes one pass. One with a wrong type
takes a second, in which an optional field that is wrong is left out and noted, and only a wrong id, title or text
loses the page.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import msgspec.structs

from pipeline.records import Page, text_hash, valid_page_id, valid_wiki
from producers.dump_entries import NOT_JSON, Action
from producers.sources import Origin
from producers.wiki_sites import page_url, site

INT64_MAX = 2**63 - 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A document that is left out on purpose."""

    reason: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes that no document can be read from, or one that cannot be told whose it is."""

    reason: str


@dataclass(frozen=True, slots=True)
class Read:
    """A page, and what was wrong with its document though it could be kept."""

    page: Page
    mended: list[str] = field(default_factory=list)


class Redirect(msgspec.Struct):
    """A page that leads to the document's."""

    title: str | None = None
    namespace: int | None = 0


class _Document(msgspec.Struct):
    """The fields that we need, of those in the index mapping that Wikimedia publishes."""

    page_id: int | str | None = None
    page_type: str | None = None
    namespace: int | None = None
    namespace_text: str | None = None
    wiki: str | None = None
    title: str | None = None
    text: str | None = None
    opening_text: str | None = None
    version: int | None = None
    language: str | None = None
    timestamp: str | None = None
    category: list[str] | None = None
    redirect: list[Redirect] | None = None
    incoming_links: int | None = None
    popularity_score: float | None = None
    wikibase_item: str | None = None


_RawDocument = msgspec.defstruct(
    "_RawDocument", [(name, msgspec.Raw, msgspec.Raw(b"null")) for name in _Document.__struct_fields__]
)

_document = msgspec.json.Decoder(_Document)
_raw_document: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_RawDocument)
_field_types: dict[str, Any] = {f.name: f.type for f in msgspec.structs.fields(_Document)}

_REQUIRED = ("title", "text")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class DocumentReader:
    """Makes pages of the documents of one file, keeping those in the chosen namespaces."""

    def __init__(self, origin: Origin, namespaces: frozenset[int]) -> None:
        self._origin = origin
        self._namespaces = namespaces

    def read(self, action: Action | None, data: bytes | bytearray) -> Read | Dropped | Malformed:
        """The page in `data`, or why there is none; `action` is None when its line was lost."""
        mended: list[str] = []
        document = _decode(data, mended)
        if isinstance(document, Dropped | Malformed):
            return document
        if document.page_type == "redirect":
            return Dropped("redirect")
        if (document.namespace or 0) not in self._namespaces:
            return Dropped("namespace")
        page_id = _page_id(document, action, mended)
        if not isinstance(page_id, str):
            return page_id
        return self._page(document, page_id, mended)

    def _page(self, document: _Document, page_id: str, mended: list[str]) -> Read | Dropped:
        title = _full_title(document)
        if not title:
            return Dropped("missing_title")
        text = document.text or ""
        if not text or text.isspace():
            return Dropped("empty")
        wiki = self._wiki(document, mended)
        if not wiki:
            return Dropped("missing_wiki")
        page = Page(
            wiki=wiki,
            page_id=page_id,
            title=title,
            text=text,
            opening_text=document.opening_text or "",
            revision=_kept("version", document.version, _is_count, mended),
            url=page_url(wiki, title),
            timestamp=document.timestamp or "",
            categories=tuple(document.category or ()),
            aliases=_aliases(document),
            incoming_links=_kept("incoming_links", document.incoming_links, _is_count, mended),
            popularity_score=_kept("popularity_score", document.popularity_score, math.isfinite, mended),
            language=document.language or site(wiki)[1],
            namespace=document.namespace or 0,
            snapshot=self._origin.snapshot,
            text_hash=text_hash(title, text),
            metadata=_metadata(document),
        )
        return Read(page, mended)

    def _wiki(self, document: _Document, mended: list[str]) -> str:
        if document.wiki and valid_wiki(document.wiki):
            return document.wiki
        if document.wiki:
            mended.append("wiki")
        return self._origin.wiki


def _page_id(document: _Document, action: Action | None, mended: list[str]) -> str | Dropped | Malformed:
    """The document's own id, or the action's: the layout used until 2025 has it only there.

    When both are there and differ, one of them is damaged or lines were lost between them: sending the page under
    either could overwrite a neighbour.
    """
    own = "" if document.page_id is None else str(document.page_id)
    named = action.page_id if action is not None else None
    if own and named and own != named:
        return Malformed("id_mismatch")
    page_id = own or named
    if not page_id:
        return Malformed("lost_action") if action is None else Dropped("missing_id")
    if not valid_page_id(page_id) or page_id.startswith("-"):
        return Dropped("bad_type")
    if action is None:
        mended.append("lost_action")
    return page_id


def _full_title(document: _Document) -> str:
    """`Talk:Amber`: the index has the namespace's name in a field of its own."""
    title = (document.title or "").strip()
    return f"{document.namespace_text}:{title}" if title and document.namespace and document.namespace_text else title


def _aliases(document: _Document) -> tuple[str, ...]:
    titles = [r.title for r in document.redirect or () if r.title and not r.namespace and r.title != document.title]
    return tuple(dict.fromkeys(titles))


def _metadata(document: _Document) -> str:
    item = document.wikibase_item
    return msgspec.json.encode({"wikibase_item": item}).decode() if item else ""


def _is_count(number: int) -> bool:
    return 0 <= number <= INT64_MAX


def _kept(name: str, value: T | None, good: Callable[[T], bool], mended: list[str]) -> T | None:
    if value is None or good(value):
        return value
    mended.append(name)
    return None


def _decode(data: bytes | bytearray, mended: list[str]) -> _Document | Dropped | Malformed:
    try:
        return _document.decode(data)
    except msgspec.ValidationError:
        return _decode_tolerantly(data, mended)
    except _UNREADABLE:
        repaired = repair_text(data)
        if repaired is None:
            return Malformed(NOT_JSON)
        mended.append("text_encoding")
        return _decode_tolerantly(repaired, mended)


def _decode_tolerantly(data: bytes | bytearray, mended: list[str]) -> _Document | Dropped | Malformed:
    """Field by field, so that a wrong one costs itself and not the document."""
    try:
        raw = _raw_document.decode(data)
    except msgspec.ValidationError:
        return Malformed("not_an_object")
    except _UNREADABLE:
        repaired = repair_text(data)
        if repaired is None:
            return Malformed(NOT_JSON)
        mended.append("text_encoding")
        return _decode_tolerantly(repaired, mended)
    document = _Document()
    for name, wanted in _field_types.items():
        try:
            setattr(document, name, msgspec.json.decode(getattr(raw, name), type=wanted))
        except _UNREADABLE:
            if name in _REQUIRED:
                return Dropped("bad_type")
            if name == "redirect":
                document.redirect = _good_redirects(getattr(raw, name))
            mended.append(name)
    return document


def _good_redirects(raw: msgspec.Raw) -> list[Redirect]:
    """The readable entries of a list of which some are not."""
    good = []
    try:
        for entry in msgspec.json.decode(raw, type=list[msgspec.Raw]):
            with suppress(*_UNREADABLE):
                good.append(msgspec.json.decode(entry, type=Redirect))
    except _UNREADABLE:
        return []
    return good


# Escapes in order, so that the second backslash of `\\ud800` is not taken for the start of one.
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)")
_LONE_SURROGATE_LENGTH = len(rb"\ud800")


def repair_text(data: bytes | bytearray) -> bytes | None:
    """The bytes with U+FFFD for bad UTF-8 and halves of surrogate pairs; None when there is neither."""
    repaired = _ESCAPE.sub(_without_lone_surrogate, data.decode("utf-8", "replace").encode())
    return None if repaired == data else repaired


def _without_lone_surrogate(escape: re.Match[bytes]) -> bytes:
    found = escape.group()
    return rb"\ufffd" if len(found) == _LONE_SURROGATE_LENGTH else found
