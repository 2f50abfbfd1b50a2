"""The pages of a snapshot that are sent: not those that are in `pages` as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import msgspec

from pipeline.manifests import Manifest, manifest_parts
from pipeline.records import Page
from producers.reader import Entry
from producers.run.processes import ShardJob
from producers.run.progress import Shape
from producers.run.source import FileSettings, Gate
from producers.snapshots.baseline import Baseline
from producers.snapshots.manifest import UNKNOWN, ManifestBuilder, content_hash, details_hash, numeric_id

UNCHANGED = "unchanged"


class SnapshotGate(Gate):
    """Compares each page with what was sent before, and keeps the manifest of those that the snapshot has, sent or
    not: it is of the whole file."""

    whole: ClassVar[bool] = True

    def __init__(self, settings: FileSettings, job: ShardJob) -> None:
        super().__init__(settings, job)
        self._baseline = _opened(job.baseline)
        self._sent = _opened(job.sent)
        self._refresh = settings.refresh_metadata
        self._manifest = ManifestBuilder()

    def refuses(self, page: Page) -> str:
        if reason := super().refuses(page):
            return reason
        content, details = content_hash(page), details_hash(page)
        self._manifest.add_page(page, content, details)
        return UNCHANGED if self._is_known(page, content, details) else ""

    def was_sent(self, page: Page) -> bool:
        number = numeric_id(page.page_id) if self._sent is not None else None
        if self._sent is None or number is None:
            return False
        known = self._sent.find(number)  # first: hardly any page is there, and hashing is dear
        return known is not None and known == (content_hash(page), details_hash(page))

    def unreadable(self, entry: Entry) -> None:
        """None of the pages that it may be counts as gone."""
        self._manifest.add_unreadable(entry.may_be)

    def too_large(self, page: Page) -> None:
        """The page's next version counts as changed. The last one that Kafka took stays."""
        self._manifest.add(page.page_id, UNKNOWN, UNKNOWN)

    @property
    def shape(self) -> Shape:
        return self._manifest.shape

    def records(self, job: ShardJob) -> Iterator[tuple[bytes, bytes]]:
        """The parts of the manifest: a finished shard has one."""
        start = job.start
        blank = Manifest(
            wiki=start.wiki,
            snapshot=start.snapshot,
            shard=job.key,
            options=start.options,
            pages_topic=start.pages_topic,
        )
        for part in manifest_parts(self._manifest.entries(), blank):
            yield part.key, msgspec.msgpack.encode(part)

    def _is_known(self, page: Page, content: int, details: int) -> bool:
        number = numeric_id(page.page_id)
        if self._baseline is None or number is None:
            return False
        known = self._baseline.find(number)
        return known is not None and known[0] == content and (known[1] == details or not self._refresh)


def _opened(folder: str) -> Baseline | None:
    return Baseline.open(Path(folder)) if folder else None
