"""The bytes of a document to its fields, as far as they can be read.

Only the fields that we need are ever built: skipping the rest (half of a document is its wikitext) is what makes
msgspec twice as fast as a full parser here. A document of the expected types takes one pass. One with a wrong type
takes a second, in which a number may be written as text and a whole number with a point, a category may be an object
with a name, an optional field that is wrong is left out and noted, and only a wrong id, title or text loses the page.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import msgspec.structs

from pipeline.rejected import Rejected
from producers.bytes.lines import BAD_NUMBER, NOT_JSON, mend_json


class Redirect(msgspec.Struct):
    """A page that leads to the document's."""

    title: str | None = None
    namespace: int | None = 0


class _Named(msgspec.Struct):
    """A category as an object, such as Wikimedia Enterprise writes it."""

    name: str


class Document(msgspec.Struct):
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
    content_model: str | None = None
    heading: list[str] | None = None


_RawDocument = msgspec.defstruct(
    "_RawDocument", [(name, msgspec.Raw, msgspec.Raw(b"null")) for name in Document.__struct_fields__]
)

_document = msgspec.json.Decoder(Document)
_raw_document: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_RawDocument)
_field_types: dict[str, Any] = {f.name: f.type for f in msgspec.structs.fields(Document)}

_REQUIRED = ("title", "text")
_NUMBERS = ("page_id", "namespace", "version", "incoming_links", "popularity_score")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode(data: bytes | bytearray, notes: list[str]) -> Document | Rejected:
    try:
        return _document.decode(data)
    except msgspec.ValidationError:
        return _decode_tolerantly(data, notes)
    except _UNREADABLE:
        return _decode_repaired(data, notes)


def _decode_tolerantly(data: bytes | bytearray, notes: list[str]) -> Document | Rejected:
    """Field by field, so that a wrong one costs itself and not the document."""
    try:
        raw = _raw_document.decode(data)
    except msgspec.ValidationError:
        return Rejected("not_an_object", damaged=True)
    except _UNREADABLE:
        return _decode_repaired(data, notes)
    document = Document()
    for name, wanted in _field_types.items():
        try:
            setattr(document, name, msgspec.json.decode(getattr(raw, name), type=wanted, strict=name not in _NUMBERS))
        except _UNREADABLE:
            if name in _REQUIRED:
                return Rejected("bad_type")
            if _in_parts(document, name, getattr(raw, name)):
                continue
            notes.append(name)
    return document


def _in_parts(document: Document, name: str, value: msgspec.Raw) -> bool:
    """Takes what can be read of a list; false when that is not all of it."""
    if name == "redirect":
        document.redirect, whole = _read_each(value, Redirect)
        return whole
    if name == "category":
        named, whole = _read_each(value, str | _Named)
        document.category = (
            [one if isinstance(one, str) else _without_prefix(one.name) for one in named] if whole else None
        )
        return whole
    return False


class _OwnId(msgspec.Struct):
    page_id: int | str | None = None


def own_id(data: bytes | bytearray) -> str:
    """The id that a document gives itself, whatever else is wrong with it; empty when it gives none."""
    try:
        found = msgspec.json.decode(data, type=_OwnId, strict=False).page_id
    except _UNREADABLE:
        return ""
    return "" if found is None else str(found)


def _decode_repaired(data: bytes | bytearray, notes: list[str]) -> Document | Rejected:
    mended = mend_json(data, nothing=b"{}")  # a value of no field's type, so that its field is noted
    if mended is None:
        return Rejected(NOT_JSON, damaged=True)
    notes.extend(note for note in mended.notes if note != BAD_NUMBER)
    return _decode_tolerantly(mended.data, notes)


def _without_prefix(name: str) -> str:
    """As all other categories are; objects have it in their names."""
    return name.removeprefix("Category:")


def _read_each(value: msgspec.Raw, wanted: Any) -> tuple[list[Any], bool]:
    """The readable entries of a list, and whether these are all."""
    try:
        entries = msgspec.json.decode(value, type=list[msgspec.Raw])
    except _UNREADABLE:
        return [], False
    good = []
    for entry in entries:
        with suppress(*_UNREADABLE):
            good.append(msgspec.json.decode(entry, type=wanted, strict=False))
    return good, len(good) == len(entries)
