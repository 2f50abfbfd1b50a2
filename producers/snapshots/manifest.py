"""The pages of a shard as its manifest has them: 24 bytes a page, an id and two hashes."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable

import msgspec
import numpy as np

from pipeline.manifests import Entries, sorted_entries
from pipeline.records import Page
from producers.run.progress import Shape

UNKNOWN = 0
"""Content that no page has: it was refused, or deleted, so that its next version counts as changed."""


def content_hash(page: Page) -> int:
    """64 bits over revision, title, text and aliases. Titles and aliases change without a revision."""
    return _hash((page.revision, page.title, page.text_hash, page.opening_text, page.aliases, page.language))


def details_hash(page: Page) -> int:
    """64 bits over what moves from week to week: links, popularity, categories, metadata."""
    return _hash((page.categories, page.incoming_links, page.popularity_score, page.url, page.timestamp, page.metadata))


def numeric_id(page_id: str) -> int | None:
    """The id as a number, as MediaWiki has it; None for any other id, which no manifest can hold."""
    if not page_id.isascii() or not page_id.isdigit() or len(page_id) > 18 or str(int(page_id)) != page_id:
        return None
    return int(page_id)


def _hash(value: object) -> int:
    digest = hashlib.blake2b(msgspec.msgpack.encode(value), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


FIELDS = (
    *("opening_text", "revision", "timestamp", "categories", "aliases", "incoming_links", "popularity_score"),
    "metadata",
)
"""Fields of a page that a document may lack."""


class ManifestBuilder:
    """The pages of one shard, those before the place where this run went on included."""

    def __init__(self) -> None:
        self._ids, self._content, self._details = array("Q"), array("Q"), array("Q")
        self._pages = 0
        self._unnamed = 0
        self._fields: Counter[str] = Counter()

    def add_page(self, page: Page, content: int, details: int) -> None:
        """Notes a page that was read, and which fields it has."""
        self.add(page.page_id, content, details)
        self._pages += 1
        self._fields.update(name for name in FIELDS if getattr(page, name) not in (None, "", ()))

    def add_unreadable(self, page_ids: Iterable[str]) -> None:
        """Notes an entry that could not be read: the pages that it may be are there, and nobody knows their content."""
        known = [page_id for page_id in page_ids if numeric_id(page_id) is not None]
        self._unnamed += not known
        for page_id in known:
            self.add(page_id, UNKNOWN, UNKNOWN)

    @property
    def shape(self) -> Shape:
        """Figures of everything added so far."""
        return Shape(pages=self._pages, unnamed=self._unnamed, fields=dict(self._fields))

    def add(self, page_id: str, content: int, details: int) -> None:
        """Notes a page that is in the snapshot, sent or not."""
        number = numeric_id(page_id)
        if number is not None:
            self._ids.append(number)
            self._content.append(content)
            self._details.append(details)

    def entries(self) -> Entries:
        """All that was added, sorted; of a page that came twice, the later."""
        return sorted_entries(*(np.frombuffer(part, np.uint64) for part in (self._ids, self._content, self._details)))
