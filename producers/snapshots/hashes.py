"""Whether a page is what it was: two hashes, of what the table must be changed for, and of the rest."""

from __future__ import annotations

import hashlib

import msgspec

from pipeline.records import Page

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
