"""Titles and ids of a list (`--pages-file`) that no page of a snapshot had, over all processes of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import structlog

from pipeline.kafka import Cluster
from pipeline.records import Page
from pipeline.service import Service
from producers.run.account import RunAccount
from producers.run.processes import ShardJob
from producers.run.runner import Found, Known
from producers.run.source import FileSettings, Source
from producers.snapshots.gate import SnapshotGate
from producers.snapshots.snapshot_run import S, SnapshotRun

SHOWN = 20


class ListedGate(SnapshotGate):
    """Notes each page that comes to it, for only those of the list do, in the run's folder."""

    def __init__(self, settings: FileSettings, job: ShardJob) -> None:
        super().__init__(settings, job)
        self._found: list[str] | None = [] if job.found else None

    def refuses(self, page: Page) -> str:
        if self._found is not None:
            self._found += [page.page_id, page.title]
        return super().refuses(page)

    def records(self, job: ShardJob) -> Iterator[tuple[bytes, bytes]]:
        if self._found is not None:
            name = hashlib.blake2b(job.key.encode(), digest_size=16).hexdigest()
            (Path(job.found) / name).write_text("\n".join(self._found), encoding="utf-8")
        yield from super().records(job)


class ListedRun(SnapshotRun[S]):
    """A run over the pages of a list, which says at its end what no page had."""

    def __init__(self, source: Source[S], settings: S, listed: frozenset[str]) -> None:
        super().__init__(source, settings)
        self._listed = listed

    def known(self, cluster: Cluster, found: Found, service: Service) -> Known:
        self._kept = self.folder / ".found"
        self._kept.mkdir()
        return replace(super().known(cluster, found, service), found=str(self._kept))

    def tell(self, account: RunAccount) -> None:
        """As every run; nothing is said of a list of which this run has not read all files to their end."""
        super().tell(account)
        whole = self.settings.shard_count == 1 and all(a.state == "finished" for a in account.shards.values())
        if whole and (titles := without_page(self._listed, self._kept)):
            first = titles[:SHOWN]
            structlog.get_logger().warning("no page has what is listed", number=len(titles), first=first)


def without_page(listed: Collection[str], folder: Path) -> list[str]:
    """Those of the list that are in none of the folder's files."""
    found = {line for file in folder.iterdir() for line in file.read_text(encoding="utf-8").split("\n")}
    return sorted(set(listed) - found)
