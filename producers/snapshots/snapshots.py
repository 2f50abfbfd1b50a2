"""A wiki's snapshots as `progress` has them: which is the last complete one, and what was begun since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pipeline.errors import CheckFailed
from pipeline.kafka import Cluster, read_range, read_to_end
from pipeline.manifests import (
    COMPLETE_PREFIX,
    PREFIX,
    Complete,
    Entries,
    decode_complete,
    decode_manifest,
)
from pipeline.records import Page, Undecodable
from pipeline.records import decode as decode_page
from producers.run.progress import Progress, decode
from producers.snapshots.baseline import Baseline, BaselineWriter
from producers.snapshots.manifest import UNKNOWN, ManifestBuilder, content_hash, details_hash

PLAN_PREFIX = b"plan/"
READ_S = 600.0
SCAN_S = 6 * 3600.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The shards that a snapshot is made of, as far as any run has been told."""

    wiki: str
    snapshot: str
    shards: tuple[str, ...]
    """Keys of their progress."""

    @property
    def key(self) -> bytes:
        return PLAN_PREFIX + f"{self.wiki}/{self.snapshot}".encode()


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Everything in `progress` but the manifests themselves."""

    progress: dict[str, Progress | None]
    """By key; None for a record that cannot be read."""
    plans: dict[tuple[str, str], Plan] = field(default_factory=dict)
    """By wiki and snapshot."""
    complete: dict[str, Complete] = field(default_factory=dict)
    """The last complete snapshot of each wiki."""
    manifests: frozenset[str] = frozenset()
    """Keys of the records of manifests that there are."""

    @classmethod
    def read(cls, cluster: Cluster, topic: str, kind: str = "cirrus") -> Snapshots:
        """The newest record of each key."""
        newest: dict[bytes, bytes] = {}
        manifests: set[str] = set()
        for record in read_to_end(cluster, topic, deadline_s=READ_S):
            key = record.key or b""
            if key.startswith(PREFIX):
                (manifests.discard if record.value is None else manifests.add)(key.decode("utf-8", "replace"))
            elif record.value is None:
                newest.pop(key, None)
            else:
                newest[key] = record.value
        return cls._of(newest, frozenset(manifests), f"{kind}/".encode())

    @classmethod
    def _of(cls, newest: Mapping[bytes, bytes], manifests: frozenset[str], prefix: bytes) -> Snapshots:
        shards = {k.decode("utf-8", "replace"): decode(v) for k, v in newest.items() if k.startswith(prefix)}
        plans = [_plan(value) for key, value in newest.items() if key.startswith(PLAN_PREFIX)]
        complete = [decode_complete(value) for key, value in newest.items() if key.startswith(COMPLETE_PREFIX)]
        return cls(
            shards,
            {(plan.wiki, plan.snapshot): plan for plan in plans if plan is not None},
            {found.wiki: found for found in complete if found is not None},
            manifests,
        )

    def of(self, wiki: str, snapshot: str) -> dict[str, Progress]:
        """Progress in the shards of one snapshot."""
        return {k: p for k, p in self.progress.items() if p is not None and (p.wiki, p.snapshot) == (wiki, snapshot)}

    def newest(self, wiki: str) -> str:
        """The newest snapshot of a wiki that any shard has been read of; empty when there is none."""
        dates = [progress.snapshot for progress in self.progress.values() if progress and progress.wiki == wiki]
        return max((*dates, self.complete[wiki].snapshot if wiki in self.complete else ""), default="")

    def since(self, wiki: str, before: str) -> dict[str, Progress]:
        """Progress in the shards of the last complete snapshot and of all begun after it, but for `before` and later;
        the older first."""
        last = self.complete.get(wiki)
        first = last.snapshot if last is not None else ""
        found = {
            key: p
            for key, p in self.progress.items()
            if p is not None and p.wiki == wiki and first <= p.snapshot < before
        }
        return dict(sorted(found.items(), key=lambda item: (item[1].snapshot, item[0])))


def _plan(data: bytes) -> Plan | None:
    try:
        return msgspec.msgpack.decode(data, type=Plan)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def spool_manifests(cluster: Cluster, topic: str, shards: Sequence[str], writer: BaselineWriter) -> list[str]:
    """Writes these shards' manifests to disk as they come, the later of the shards given above the earlier.

    Returns the shards whose manifest is not all there, or cannot be read.
    """
    ranks = {f"manifest/{shard}/": rank for rank, shard in enumerate(shards)}
    parts: dict[str, dict[int, int]] = {shard: {} for shard in shards}
    for record in read_to_end(cluster, topic, deadline_s=READ_S):
        key = (record.key or b"").decode("utf-8", "replace")
        prefix, _, number = key.rpartition("/")
        rank = ranks.get(prefix + "/")
        if rank is None or not number.isdecimal():
            continue
        found = parts[shards[rank]]
        manifest = None if record.value is None else decode_manifest(record.value)
        if manifest is None:
            writer.drop(key)
            found.pop(int(number), None)
        else:
            writer.put(key, (rank, manifest.part), manifest.entries)
            found[int(number)] = manifest.parts
    return [shard for shard, found in parts.items() if 0 not in found or not found.keys() >= set(range(found[0]))]


def sent_since(cluster: Cluster, topic: str, wiki: str, floor: Mapping[int, int]) -> Entries:
    """The pages of a wiki that `pages` has got since these offsets; deleted ones, too, with content that none has.

    It decodes every page: for shards that were broken off only, whose manifest nobody wrote.
    """
    ranges = {p: (max(floor.get(p, 0), start), end) for p, (start, end) in cluster.log(topic).ranges.items()}
    found = ManifestBuilder()
    prefix = f"{wiki}:".encode()
    for record in read_range(cluster, topic, ranges, SCAN_S):
        if record.key is None or not record.key.startswith(prefix):
            continue
        page = _page(record.value)
        if page is not None:
            found.add(page.page_id, content_hash(page), details_hash(page))
        else:
            found.add(record.key[len(prefix) :].decode("utf-8", "replace"), UNKNOWN, UNKNOWN)
    return found.entries()


def _page(value: bytes | None) -> Page | None:
    try:
        return None if value is None else decode_page(value, Page)
    except Undecodable:
        return None


@dataclass(frozen=True, slots=True)
class SnapshotReader:
    """Makes baselines: of what was sent before a snapshot, and of a snapshot itself."""

    cluster: Cluster
    progress_topic: str
    pages_topic: str
    snapshots: Snapshots

    def sent_before(self, wiki: str, snapshot: str, folder: Path) -> Baseline:
        """All that `pages` holds of the wiki: the last complete snapshot, and what any begun since then has sent."""
        shards = self.snapshots.since(wiki, snapshot)
        writer = BaselineWriter(folder)
        self._spool([key for key, progress in shards.items() if progress.finished], writer)
        open_ = [p for p in shards.values() if not p.finished and p.line]
        if open_:
            floor = {partition: min(p.floor.get(partition, 0) for p in open_) for partition in open_[0].floor}
            writer.put("", (len(shards), 0), sent_since(self.cluster, self.pages_topic, wiki, floor))
        return writer.finish()

    def sent_after(self, wiki: str, shards: Sequence[Progress], folder: Path) -> Baseline:
        """All that `pages` has got of the wiki since any of these shards wrote down its progress."""
        ends = {partition: min(p.ends.get(partition, 0) for p in shards) for partition in shards[0].ends}
        writer = BaselineWriter(folder)
        writer.put("", (0, 0), sent_since(self.cluster, self.pages_topic, wiki, ends))
        return writer.finish()

    def said_by(self, wiki: str, snapshot: str, folder: Path) -> Baseline:
        """All that the finished shards of a snapshot say.

        Raises:
            CheckFailed: a manifest cannot be read, so that its pages would seem to be gone.
        """
        writer = BaselineWriter(folder)
        if lacking := self._spool(list(self.snapshots.of(wiki, snapshot)), writer):
            raise CheckFailed(
                f"{wiki} {snapshot}: the topic {self.progress_topic} has no whole manifest of "
                f"{', '.join(lacking[:5])}: read it again, with --again"
            )
        return writer.finish()

    def _spool(self, shards: Sequence[str], writer: BaselineWriter) -> list[str]:
        return spool_manifests(self.cluster, self.progress_topic, shards, writer)
