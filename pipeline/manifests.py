"""Manifests of snapshots: for each finished shard, the ids of its pages and a hash of each, kept in `progress`.

Dumps have no tombstones. That a page was deleted shows only in that a newer complete snapshot lacks it, and that a page
is unchanged only in that its hashes are those of the snapshot before. 24 bytes a page, in records of at most 4.8 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.progress_records import decode_record

SCHEMA_VERSION = 1
PART_PAGES = 200_000
PREFIX = b"manifest/"
COMPLETE_PREFIX = b"complete/"

Hashes = NDArray[np.uint64]


class Entries(NamedTuple):
    """Pages as three arrays of one length, sorted by id; each id once."""

    ids: Hashes
    content: Hashes
    """Hash of what the table must be changed for: revision, title, text, aliases."""
    details: Hashes
    """Hash of everything else, such as popularity."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a shard's manifest; the arrays are little-endian uint64."""

    schema: int = SCHEMA_VERSION
    wiki: str
    snapshot: str
    shard: str
    """Key of the shard's progress."""
    part: int = 0
    parts: int = 1
    options: str
    """The choice of pages that it was read with: manifests of different choices cannot be compared."""
    pages_topic: str
    """Id of the topic that the pages were sent to: what was sent to another counts for nothing."""
    ids: bytes = b""
    content: bytes = b""
    details: bytes = b""

    @property
    def key(self) -> bytes:
        return f"manifest/{self.shard}/{self.part}".encode()

    @property
    def entries(self) -> Entries:
        return Entries(*(np.frombuffer(part, "<u8") for part in (self.ids, self.content, self.details)))


class Complete(msgspec.Struct, frozen=True, kw_only=True):
    """The last complete snapshot of a wiki: all its pages are in `pages`, and those it lacks are deleted there."""

    schema: int = SCHEMA_VERSION
    wiki: str
    snapshot: str
    options: str
    pages_topic: str
    pages: int
    deleted: int
    shards: tuple[str, ...]
    """Keys of its shards' progress, in order."""

    @property
    def key(self) -> bytes:
        return COMPLETE_PREFIX + self.wiki.encode()


def manifest_parts(entries: Entries, blank: Manifest) -> Iterator[Manifest]:
    """The entries as records like `blank`, which has none; an empty shard has one empty part."""
    count = len(entries.ids)
    parts = max(1, -(-count // PART_PAGES))
    for part in range(parts):
        piece = slice(part * PART_PAGES, (part + 1) * PART_PAGES)
        arrays = (np.ascontiguousarray(array[piece], "<u8").tobytes() for array in entries)
        ids, content, details = arrays
        yield msgspec.structs.replace(blank, part=part, parts=parts, ids=ids, content=content, details=details)


def sorted_entries(ids: Hashes, content: Hashes, details: Hashes) -> Entries:
    """Entries in the order of their ids; of those with one id, the last given stays."""
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    last = np.append(ids[1:] != ids[:-1], True) if len(ids) else np.empty(0, np.bool_)
    order = order[last]
    return Entries(ids[last], content[order], details[order])


def decode_manifest(data: bytes) -> Manifest | None:
    """The record, or None when it is none. Raises Fatal when a newer Cirrostream wrote it."""
    manifest = decode_record(data, Manifest, SCHEMA_VERSION, "a manifest")
    if manifest is None:
        return None
    lengths = {len(part) for part in (manifest.ids, manifest.content, manifest.details)}
    return manifest if len(lengths) == 1 and lengths.pop() % 8 == 0 else None


def decode_complete(data: bytes) -> Complete | None:
    """The record, or None when it is none. Raises Fatal when a newer Cirrostream wrote it."""
    return decode_record(data, Complete, SCHEMA_VERSION, "a record of a complete snapshot")
