"""A record with fields of anybody's choice to a page.

Id and text decide whether there is a page. Any other field that is missing or of a wrong type is left out of it and
noted. All that no part of the page was made of goes into `metadata`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from urllib.parse import unquote

import msgspec

from pipeline.records import Page, text_hash, utc_timestamp, valid_page_id
from pipeline.rejected import Rejected

Record = Mapping[str, object]

MAX_METADATA_BYTES = 16 * 1024
"""Every row of a page has a copy of it."""

OPENING_CHARACTERS = 2_000
MAX_TITLE = 1_000
MAX_URL = 2_000
MAX_CATEGORIES = 200
MAX_CATEGORY = 200

EXACT_FLOATS = 2**53
"""Below it a float is the whole number that it was made of."""

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_URL = re.compile(r"https?://[^\s<>\"]+\Z")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8}){0,4}\Z")


@dataclass(frozen=True, slots=True)
class Reshaping:
    """Turns the records of one well-known source into records with the fields that a mapping expects by default."""

    id_field: str
    """The field that it makes the id of, to be looked for in the source."""
    text_fields: tuple[str, ...]
    reshape: Callable[[Record, list[str]], Record]
    """The record, and a list to note fields in that could not be read."""


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """The fields of a record by their meaning; `doc.title` is the field `title` of the object in `doc`, unless a field
    itself has that name."""

    wiki: str
    id_field: str = "id"
    title_field: str = "title"
    text_fields: tuple[str, ...] = ("text",)
    url_field: str = "url"
    language_field: str = "language"
    timestamp_field: str = "timestamp"
    categories_field: str = "categories"
    skip_fields: tuple[str, ...] = ()
    max_metadata_bytes: int = MAX_METADATA_BYTES
    reshaping: Reshaping | None = None

    @property
    def id_needed(self) -> str:
        """The field of the source that the id is made of."""
        return self.reshaping.id_field if self.reshaping else self.id_field

    @property
    def texts_needed(self) -> tuple[str, ...]:
        """Those that the text is made of."""
        return self.reshaping.text_fields if self.reshaping else self.text_fields

    def read(self, record: Record, notes: list[str]) -> Page | Rejected:
        """The record's page, or why there is none; fields that were wrong and left out are added to `notes`."""
        if self.reshaping:
            record = self.reshaping.reshape(record, notes)
        page_id = _page_id(field(record, self.id_field))
        if isinstance(page_id, Rejected):
            return page_id
        text = _joined([field(record, name) for name in self.text_fields])
        if isinstance(text, Rejected):
            return text
        return self._page(record, page_id, text, notes)

    def _page(self, record: Record, page_id: str, text: str, notes: list[str]) -> Page:
        def kept(name: str, where: str, wanted: Callable[[object], str | None]) -> str:
            value = field(record, where) if where else None
            found = "" if value is None else wanted(value)
            if found is None:
                notes.append(name)
            return found or ""

        title = kept("title", self.title_field, _title)
        return Page(
            wiki=self.wiki,
            page_id=page_id,
            title=title,
            text=text,
            opening_text=opening_of(text),
            url=kept("url", self.url_field, _url),
            timestamp=kept("timestamp", self.timestamp_field, as_timestamp),
            categories=_categories(field(record, self.categories_field) if self.categories_field else None, notes),
            language=kept("language", self.language_field, _language),
            text_hash=text_hash(title, text),
            metadata=self._metadata(record, notes),
        )

    def _metadata(self, record: Record, notes: list[str]) -> str:
        used = (self.id_field, self.title_field, *self.text_fields, self.url_field, self.language_field)
        left = without(record, (*used, self.timestamp_field, self.categories_field, *self.skip_fields))
        encoded = {name: json for name, value in left.items() if (json := _json(value))}
        if len(encoded) < sum(value is not None for value in left.values()):
            notes.append("metadata")
        size = 2 + sum(len(name.encode()) + len(value) + 4 for name, value in encoded.items())
        # The largest first: it is more likely an embedding or the page's HTML than what somebody wants to see.
        for name in sorted(encoded, key=lambda name: len(encoded[name]), reverse=True):
            if size <= self.max_metadata_bytes:
                break
            size -= len(name.encode()) + len(encoded.pop(name)) + 4
            notes.append("metadata")
        return msgspec.json.encode({n: msgspec.Raw(v) for n, v in encoded.items()}).decode() if encoded else ""


def _json(value: object) -> bytes:
    """The value as JSON; empty for nothing, and for what JSON cannot say."""
    if isinstance(value, float) and not math.isfinite(value):
        return b""
    try:
        return msgspec.json.encode(value) if value is not None else b""
    except (TypeError, ValueError, OverflowError, RecursionError):
        return b""


def field(record: Record, name: str) -> object:
    """The value in the field of this name, None where there is none."""
    if name in record:
        return record[name]
    outer, dot, inner = name.partition(".")
    nested = record.get(outer) if dot else None
    return field(nested, inner) if isinstance(nested, Mapping) else None


def without(record: Record, names: Iterable[str]) -> dict[str, object]:
    """The record without these fields; an object that nothing is left in goes too."""
    left = dict(record)
    for name in names:
        outer, dot, inner = name.partition(".")
        if name in left:
            del left[name]
        elif dot and isinstance(nested := left.get(outer), Mapping) and field(nested, inner) is not None:
            left[outer] = without(nested, [inner]) or None
    return left


def fields_of_folders(path: Path) -> dict[str, object]:
    """Fields that the names of folders give all records in them, as Hive and Spark write: `lang=de/part-0.parquet`.

    Those are the folders right above the file, as far as all have such a name. A field of a record itself goes before.
    """
    named = takewhile(lambda folder: "=" in folder.name, path.parents)
    parts = [folder.name.partition("=") for folder in named][::-1]
    return {unquote(name): unquote(value) for name, _, value in parts if name and value != _HIVE_NULL}


def opening_of(text: str) -> str:
    """The beginning of a text, whole paragraphs if it can be: what unit `lead` makes its one vector of."""
    if len(text) <= OPENING_CHARACTERS:
        return text
    end = max(text.rfind("\n\n", 1, OPENING_CHARACTERS), 0) or max(text.rfind(" ", 1, OPENING_CHARACTERS), 0)
    return text[: end or OPENING_CHARACTERS]


def _page_id(value: object) -> str | Rejected:
    if value is None or value == "":
        return Rejected("missing_id")
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT_FLOATS:
        value = int(value)  # a column of numbers that has gaps is one of floats in many programs
    if isinstance(value, bool) or not isinstance(value, int | str):
        return Rejected("bad_type")
    page_id = str(value)
    return page_id if valid_page_id(page_id) else Rejected("bad_id")


def _joined(values: list[object]) -> str | Rejected:
    """The texts with an empty line between them."""
    found = [value for value in values if value is not None]
    if not found:
        return Rejected("missing_text")
    texts = [value for value in found if isinstance(value, str)]
    if len(texts) < len(found):
        return Rejected("bad_type")
    text = "\n\n".join(part for part in texts if part and not part.isspace())
    return text or Rejected("empty")


def _title(value: object) -> str | None:
    return " ".join(value[:MAX_TITLE].split()) if isinstance(value, str) else None


def _url(value: object) -> str | None:
    """Web addresses alone: a page that shows hits makes links of them."""
    return value if isinstance(value, str) and len(value) <= MAX_URL and _URL.match(value) else None


def _language(value: object) -> str | None:
    return value if isinstance(value, str) and _LANGUAGE.match(value) else None


def as_timestamp(value: object) -> str | None:
    """An ISO 8601 date as it is, a date and time as dumps have them (UTC, to the second), None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        if len(value) <= len("2026-11-15"):
            return moment.date().isoformat()
        if moment.tzinfo is None:
            return moment.isoformat(timespec="seconds")
        return utc_timestamp(moment)
    except (ValueError, OverflowError):
        return None


def _category(value: object) -> object:
    """Objects have a wiki's word for it in their names, which all other categories are without."""
    named = value.get("name") if isinstance(value, Mapping) else value
    return named.removeprefix("Category:") if isinstance(named, str) and named is not value else named


def _categories(value: object, notes: list[str]) -> tuple[str, ...]:
    """A list of names, or of objects with a `name`; or a string that is one name."""
    names = [value] if isinstance(value, str) else value
    if names is None:
        return ()
    if not isinstance(names, list):
        notes.append("categories")
        return ()
    read = [_category(name) for name in names]
    good = [name for name in read if isinstance(name, str) and 0 < len(name) <= MAX_CATEGORY][:MAX_CATEGORIES]
    if len(good) < len(names):
        notes.append("categories")
    return tuple(dict.fromkeys(good))


MAX_IDS = 500_000
"""About 50 MB. A file with more is looked at in stretches of so many."""


class SeenIds:
    """The ids of the last pages of one run over one file, as 64-bit hashes."""

    def __init__(self, max_ids: int = MAX_IDS) -> None:
        self._max_ids = max_ids
        self._seen: set[int] = set()

    def again(self, page_id: str) -> bool:
        """True for an id that was seen before; a duplicate further away than `max_ids` may go unnoticed."""
        digest = int.from_bytes(hashlib.blake2b(page_id.encode(), digest_size=8).digest())
        if digest in self._seen:
            return True
        if len(self._seen) >= self._max_ids:
            self._seen.clear()
        self._seen.add(digest)
        return False


class RecordPages:
    """Makes pages of the records of one file, which have the fields that its folders give besides their own."""

    def __init__(self, path: Path, mapping: FieldMapping) -> None:
        self._mapping = mapping
        self._of_folders = fields_of_folders(path)
        self._seen = SeenIds()

    def read(self, record: Record, notes: list[str]) -> Page | Rejected:
        """The record's page, as `FieldMapping.read`; an id that a record before it has is noted."""
        page = self._mapping.read({**self._of_folders, **record} if self._of_folders else record, notes)
        if isinstance(page, Page) and self._seen.again(page.page_id):
            notes.append("duplicate_id")
        return page
