"""A run over snapshots: of one that follows another, only the pages that are new or have changed are sent."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from pipeline.errors import UsageError
from pipeline.kafka import Cluster
from pipeline.publisher import Message, Publisher
from pipeline.service import Service
from producers.run.progress import Progress
from producers.run.runner import FileRun, Found, Known
from producers.run.shards import Origin
from producers.snapshots.completeness import unreadable
from producers.snapshots.settings import SnapshotSettings
from producers.snapshots.snapshots import SCAN_S, Plan, SnapshotReader, Snapshots

PLAN_SECONDS = 60.0

S = TypeVar("S", bound=SnapshotSettings)


class SnapshotRun(FileRun[S]):
    """Compares each wiki's snapshot with what `pages` holds of it."""

    def run(self) -> int:
        """As every run; the folder with the baselines is gone at its end."""
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.settings.data_dir, prefix="baseline-") as folder:
            self.folder = Path(folder)
            return super().run()

    def read_progress(self, cluster: Cluster, topic: str) -> Mapping[str, Progress | None]:
        """Reads all that `progress` says of snapshots, once."""
        self._snapshots = Snapshots.read(cluster, topic, self.source.name)
        return self._snapshots.progress

    def known(self, cluster: Cluster, found: Found, service: Service) -> Known:
        """Writes down which shards each snapshot has, and makes the baselines.

        Raises:
            UsageError: a snapshot is older than one that was sent before.
        """
        origins = sorted({file.origin for file in found.expected if file.origin.wiki})
        if not self.settings.allow_older:
            _refuse_older(found, self._snapshots, origins)
        _write_plans(cluster, found, self._snapshots, origins)
        reader = SnapshotReader(cluster, found.topics.progress, found.topics.pages, self._snapshots)
        baselines = {}
        for wiki, snapshot in origins:
            if self._comparable(found, wiki, snapshot, service):
                folder = self.folder / wiki
                folder.mkdir()
                with service.step(f"comparing {wiki} with what {found.topics.pages} has", 2 * SCAN_S):
                    known = reader.sent_before(wiki, snapshot, folder)
                service.log.info("compares", wiki=wiki, snapshot=snapshot, pages_known=len(known))
                baselines[wiki] = folder
        with service.step(f"reading what was sent to {found.topics.pages} before", 2 * SCAN_S):
            return Known(baselines, self._sent(found, reader))

    def is_whole(self, progress: Progress) -> bool:
        """A shard in which an earlier version met what it could not read is read once more, and nothing of it is sent
        again: its manifest must name the pages that are there all the same."""
        return progress.finished and (progress.shape is not None or not unreadable(progress.ledger))

    def _sent(self, found: Found, reader: SnapshotReader) -> dict[str, Path]:
        """Pages that runs which were killed had sent and not written down: they are not sent again."""
        broken_off: dict[str, list[Progress]] = {}
        for key in found.mine:
            before = found.progress.get(key)
            if before is None or before.finished or not before.wiki or self.settings.again:
                continue
            if before.pages_topic == found.pages.id:
                broken_off.setdefault(before.wiki, []).append(before)
        folders = {}
        for wiki, shards in broken_off.items():
            folders[wiki] = self.folder / f"{wiki}-sent"
            folders[wiki].mkdir()
            reader.sent_after(wiki, shards, folders[wiki])
        return folders

    def _comparable(self, found: Found, wiki: str, snapshot: str, service: Service) -> bool:
        last = self._snapshots.complete.get(wiki)
        if last is None or self.settings.again or not snapshot or last.snapshot >= snapshot:
            return False
        sent = self._snapshots.since(wiki, snapshot).values()
        if last.pages_topic != found.pages.id or any(p.pages_topic != found.pages.id for p in sent):
            service.log.warning("sends every page", wiki=wiki, because="the topic pages is another one than before")
            return False
        if last.options != self.options or any(p.options != self.options for p in sent):
            service.log.warning("sends every page", wiki=wiki, because="other pages were chosen before")
            return False
        return True


def _refuse_older(found: Found, snapshots: Snapshots, origins: Sequence[Origin]) -> None:
    for file in found.expected:
        wiki, snapshot = file.origin
        newest = max(snapshots.newest(wiki), *(origin.snapshot for origin in origins if origin.wiki == wiki), "")
        if snapshot and snapshot < newest:
            raise UsageError(
                f"{file.path}: snapshot {snapshot} of {wiki} is older than {newest}, which was sent before or stands "
                "beside it; the newest sent wins, so pages would go back: --allow-older does it"
            )


def _write_plans(cluster: Cluster, found: Found, snapshots: Snapshots, origins: Sequence[Origin]) -> None:
    """Adds the shards that are new to what other producers have written down of the same snapshots."""
    messages = []
    for wiki, snapshot in origins:
        keys = {file.key for file in found.expected if file.origin == Origin(wiki, snapshot)}
        known = snapshots.plans.get((wiki, snapshot))
        if known is None or keys - set(known.shards):
            shards = tuple(sorted(keys | set(known.shards if known is not None else ())))
            plan = Plan(wiki=wiki, snapshot=snapshot, shards=shards)
            messages.append(Message(found.topics.progress, plan.key, msgspec.msgpack.encode(plan)))
    if messages:
        with Publisher(cluster) as publisher:
            publisher.publish(messages).wait(PLAN_SECONDS)
