"""Ends a snapshot: what the one before had and this one lacks is deleted, and the next one is compared with this."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from pipeline.errors import CheckFailed, Exit, UsageError
from pipeline.kafka import Cluster
from pipeline.manifests import Complete
from pipeline.publisher import Delivery, Message, Publisher
from pipeline.terminal import say_aside
from pipeline.topics import CorpusTopics, ensure_corpus, topic_ids
from producers.run.progress import Progress
from producers.snapshots.baseline import Baseline
from producers.snapshots.completeness import missing, refuse_unreadable
from producers.snapshots.settings import FinishSettings
from producers.snapshots.shape import SnapshotShape
from producers.snapshots.snapshots import SnapshotReader, Snapshots

ACKNOWLEDGE_SECONDS = 300.0
BATCH = 10_000


def finish(settings: FinishSettings) -> int:
    """Sends the tombstones of the snapshot `settings.finish`, and records that it is complete.

    Raises:
        CheckFailed: a shard is not finished, a ledger does not balance, something could not be read that may be any
            page, the snapshot is far from the last one, or too many pages would go.
        UsageError: there is no such snapshot, it is older than the last complete one, or other pages were chosen.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with closing(Cluster.connect(settings)) as cluster, tempfile.TemporaryDirectory(dir=settings.data_dir) as folder:
        finisher = _Finisher(settings, cluster, Path(folder))
        for wiki in finisher.wikis():
            say_aside(finisher.finish(wiki))
    return Exit.DONE


class _Finisher:
    def __init__(self, settings: FinishSettings, cluster: Cluster, folder: Path) -> None:
        self._settings = settings
        self._cluster = cluster
        self._folder = folder
        self._topics: CorpusTopics = ensure_corpus(cluster, settings)
        self._pages_topic = str(topic_ids(cluster, [self._topics.pages])[self._topics.pages])
        self._snapshots = Snapshots.read(cluster, self._topics.progress)

    def wikis(self) -> list[str]:
        """Those that the snapshot was read of, or the one that was named."""
        named, snapshot = self._settings.wiki, self._settings.finish
        found = sorted(wiki for wiki, date in self._snapshots.plans if date == snapshot and named in ("", wiki))
        if not found:
            known = sorted({date for _, date in self._snapshots.plans})
            there = f"; there are {', '.join(known)}" if known else ""
            raise UsageError(f"--finish {snapshot}: no shard of such a snapshot has been read{there}")
        return found

    def finish(self, wiki: str) -> str:
        """One wiki's; says what was done."""
        snapshot = self._settings.finish
        shards = self._checked_shards(wiki, snapshot)
        last = self._snapshots.complete.get(wiki)
        if last is not None and last.snapshot == snapshot and last.pages_topic == self._pages_topic:
            return f"{wiki} {snapshot}: complete already, {last.pages:,} pages"
        self._refuse_unlike(wiki, last, next(iter(shards.values()), None))
        refuse_unreadable(f"{wiki} {snapshot}", shards, self._settings.accept_unreadable)
        self._refuse_another_shape(wiki, last, shards)
        said, before = self._baselines(wiki, snapshot)
        deleted = 0
        if last is not None and last.pages_topic == self._pages_topic:
            deleted = self._delete(wiki, said, before)
        complete = Complete(
            wiki=wiki,
            snapshot=snapshot,
            options=next((p.options for p in shards.values()), ""),
            pages_topic=self._pages_topic,
            pages=len(said),
            deleted=deleted,
            shards=tuple(shards),
        )
        self._record(complete)
        return f"{wiki} {snapshot}: complete, {len(said):,} pages, {deleted:,} deleted"

    def _checked_shards(self, wiki: str, snapshot: str) -> dict[str, Progress]:
        problems = missing(self._snapshots, wiki, snapshot, self._pages_topic)
        if problems:
            shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5:,} more" if len(problems) > 5 else "")
            raise CheckFailed(f"{wiki} {snapshot} is not complete: {shown}. Read it to its end, then finish it")
        plan = self._snapshots.plans[wiki, snapshot]
        found = self._snapshots.of(wiki, snapshot)
        return {key: found[key] for key in plan.shards}

    def _refuse_unlike(self, wiki: str, last: Complete | None, first: Progress | None) -> None:
        snapshot = self._settings.finish
        if last is None or last.pages_topic != self._pages_topic:
            return
        if snapshot < last.snapshot and not self._settings.allow_older:
            raise UsageError(
                f"--finish {snapshot}: {last.snapshot} of {wiki} is complete and newer; --allow-older goes back to it"
            )
        if first is not None and first.options != last.options:
            raise UsageError(
                f"--finish {snapshot}: of {wiki} other pages were chosen ({first.options}) than of {last.snapshot} "
                f"({last.options}), so what it lacks may be there: read it again as that one was read"
            )

    def _refuse_another_shape(self, wiki: str, last: Complete | None, shards: Mapping[str, Progress]) -> None:
        if last is None or last.pages_topic != self._pages_topic or self._settings.accept_shape:
            return
        before = [p for key in last.shards if (p := self._snapshots.progress.get(key)) and p.options == last.options]
        if len(before) < len(last.shards):
            return  # read again otherwise since then: there is nothing to compare with
        if unlike := SnapshotShape.of(shards.values()).unlike(SnapshotShape.of(before)):
            raise CheckFailed(
                f"{wiki} {self._settings.finish} is not like {last.snapshot}: {'; '.join(unlike)}. Nothing was "
                "deleted. See `python -m producers.ledger`; if the wiki is like that now, give --accept-shape"
            )

    def _baselines(self, wiki: str, snapshot: str) -> tuple[Baseline, Baseline]:
        folders = [self._folder / wiki / name for name in ("said", "before")]
        for folder in folders:
            folder.mkdir(parents=True)
        reader = SnapshotReader(self._cluster, self._topics.progress, self._topics.pages, self._snapshots)
        return reader.said_by(wiki, snapshot, folders[0]), reader.sent_before(wiki, snapshot, folders[1])

    def _delete(self, wiki: str, said: Baseline, before: Baseline) -> int:
        count = sum(len(ids) for ids in before.without(said))
        share = count / max(1, len(before))
        if share > self._settings.max_deletions:
            raise CheckFailed(
                f"{wiki} {self._settings.finish} lacks {count:,} of {len(before):,} pages ({share:.1%}), more than "
                f"--max-deletions {self._settings.max_deletions:.1%}: nothing was deleted. See `python -m "
                "producers.ledger`; if that is right, give a larger --max-deletions"
            )
        with Publisher(self._cluster) as publisher:
            keys = (f"{wiki}:{page_id}".encode() for page_id in _each(said, before))
            self._send(publisher, (Message(self._topics.pages, key, None) for key in keys))
        return count

    def _send(self, publisher: Publisher, messages: Iterator[Message]) -> None:
        deliveries: list[Delivery] = []
        for message in messages:
            deliveries.append(publisher.publish([message]))
            if len(deliveries) >= BATCH:
                _wait(deliveries)
        _wait(deliveries)

    def _record(self, complete: Complete) -> None:
        """Makes the snapshot the last complete one, then forgets those before it: a crash in between costs nothing."""
        topic = self._topics.progress
        with Publisher(self._cluster) as publisher:
            record = Message(topic, complete.key, msgspec.msgpack.encode(complete))
            publisher.publish([record]).wait(ACKNOWLEDGE_SECONDS)
            old = self._outlived(complete)
            self._send(publisher, (Message(topic, key, None) for key in old))

    def _outlived(self, complete: Complete) -> list[bytes]:
        """Keys of the records of this wiki's other snapshots."""
        wiki, snapshot = complete.wiki, complete.snapshot
        shards = [k for k, p in self._snapshots.progress.items() if p and p.wiki == wiki and p.snapshot != snapshot]
        plans = [plan.key for (name, date), plan in self._snapshots.plans.items() if name == wiki and date != snapshot]
        own = {f"manifest/{key}/" for key in shards}
        manifests = [key for key in self._snapshots.manifests if key.rpartition("/")[0] + "/" in own]
        return [*plans, *(key.encode() for key in (*shards, *manifests))]


def _each(said: Baseline, before: Baseline) -> Iterator[int]:
    for ids in before.without(said):
        yield from (int(page_id) for page_id in ids)


def _wait(deliveries: list[Delivery]) -> None:
    for delivery in deliveries:
        delivery.wait(ACKNOWLEDGE_SECONDS)
    deliveries.clear()
