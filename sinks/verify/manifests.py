"""Compares manifests of the dumps with `pages`, id by id: the way before the table, which the other checks prove."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from kafka.consumer.fetcher import ConsumerRecord

from pipeline.manifests import PREFIX, Manifest, decode_manifest
from sinks.verify.pages import NewestPages, key_hash
from sinks.verify.report import Check, Problems


@dataclass(frozen=True, slots=True)
class _Shard:
    """One part of a shard's manifest."""

    wiki: str
    snapshot: str
    pages: int
    lost: tuple[int, ...]
    """Ids of pages that `pages` has never heard of."""


def manifest_check(records: Iterable[ConsumerRecord], pages: NewestPages, pages_id: str) -> Check:
    """Checks that every page in the manifests of each wiki's newest snapshot has been sent; it may be deleted since.

    `records` is the topic `progress`. Kafka forgets a deletion after the topic's delete.retention.ms (35 days), so that
    a page of an older snapshot that was deleted long ago would look lost.
    """
    shards: dict[bytes, _Shard] = {}
    for record in records:
        key = record.key or b""
        if not key.startswith(PREFIX):
            continue
        shards.pop(key, None)
        manifest = None if record.value is None else decode_manifest(record.value)
        if manifest is not None and manifest.pages_topic == pages_id:
            shards[key] = _compared(manifest, pages)
    newest = {wiki: max(s.snapshot for s in shards.values() if s.wiki == wiki) for wiki in _wikis(shards.values())}
    current = [shard for shard in shards.values() if shard.snapshot == newest[shard.wiki]]
    problems = Problems()
    for shard in current:
        for page_id in shard.lost:
            problems.add("not in pages", f"{shard.wiki}:{page_id} of {shard.snapshot} was never sent")
    return problems.check("manifests", _figures(current))


def _compared(manifest: Manifest, pages: NewestPages) -> _Shard:
    entries = manifest.entries
    sent = entries.ids[entries.content != 0]  # 0: too large, and in the dead letters, or not readable in the dump
    keys = np.fromiter((key_hash(f"{manifest.wiki}:{page_id}") for page_id in sent), np.int64, len(sent))
    lost = sent[pages.places(keys) < 0]
    return _Shard(manifest.wiki, manifest.snapshot, len(sent), tuple(int(page_id) for page_id in lost))


def _wikis(shards: Iterable[_Shard]) -> set[str]:
    return {shard.wiki for shard in shards}


def _figures(shards: list[_Shard]) -> str:
    if not shards:
        return "none: no dump with manifests has been read"
    snapshots = sorted({f"{shard.wiki} {shard.snapshot}".strip() for shard in shards})
    shown = ", ".join(snapshots[:3]) + (f" and {len(snapshots) - 3} more" if len(snapshots) > 3 else "")
    return f"{sum(shard.pages for shard in shards):,} pages of {shown}, each in pages"
