"""A run of a producer of files: one process reads one file, this one gives them out and accounts for them.

Killed and started again, a run goes on where Kafka had acknowledged.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic

import msgspec
from rich.console import Console

from pipeline import logs
from pipeline.errors import CheckFailed, CirrostreamError, Exit, Fatal, TryAgain, UsageError
from pipeline.kafka import Cluster
from pipeline.service import Service
from pipeline.topics import CorpusTopics, ensure_corpus, topic_ids
from producers.file_settings import FileSettings
from producers.page_reader import FileKind, S
from producers.progress import PagesTopic, Progress, begin
from producers.rivals import Rivals
from producers.run_account import RunAccount, result
from producers.run_display import Bars, Display, Lines, ledger_table
from producers.shard_job import ShardJob, job_for
from producers.shard_processes import ShardProcesses
from producers.snapshots import Snapshots
from producers.sources import Shard, find_shards


@dataclass(frozen=True, slots=True)
class Found:
    """What is there before a run sends anything."""

    shards: list[Shard]
    """All of the sources, those of other producers too."""
    snapshots: Snapshots
    topics: CorpusTopics
    pages: PagesTopic


Starts = Sequence[tuple[Shard, Progress]]
"""The shards of this producer, and where each goes on."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a kind of file adds to a run."""

    baselines: dict[str, Path] = field(default_factory=dict)
    """Wiki -> folder with what `pages` holds of it."""
    sent: dict[str, Path] = field(default_factory=dict)
    """Wiki -> folder with what earlier runs of these shards sent after they last wrote down their progress."""


class FileRun(Generic[S]):
    """Sends the pages of the sources of `settings` to `pages`, and goes on where it was left."""

    def __init__(self, kind: FileKind[S], settings: S) -> None:
        self.kind = kind
        self.settings = settings
        self.run_id = uuid.uuid4().hex[:16]

    def run(self) -> int:
        """The whole of it. Every shard that could be read is, whatever becomes of the others."""
        settings = self.settings
        logs.configure()  # first: a logger that is bound before it writes to stdout, where `--json` stands alone
        shards = find_shards(settings.sources, self.kind.names)
        mine = _mine(settings, shards)
        with Service("produce", settings) as service, closing(Cluster.connect(settings)) as cluster:
            found = self._found(cluster, shards, service)
            starts = [(shard, self._start(shard, found, service)) for shard in mine]
            prepared = self.prepare(cluster, found, starts, service)
            account = RunAccount.of(starts)
            skipped = sum(shard.state == "skipped" for shard in account.shards.values())
            service.log.info("planned", run=self.run_id, shards=len(mine), finished_before=skipped)
            service.ready = True
            with Rivals(cluster, found.topics.progress, self.run_id) as rivals:
                self._produce(account, prepared, service, rivals)
            self._tell(account)
        _raise_failures(account)
        return Exit.DONE

    def prepare(self, cluster: Cluster, found: Found, starts: Starts, service: Service) -> Prepared:
        """What a kind of file checks and makes before anything is sent; may raise."""
        return Prepared()

    def _found(self, cluster: Cluster, shards: list[Shard], service: Service) -> Found:
        topics = ensure_corpus(cluster, self.settings)
        snapshots = Snapshots.read(cluster, topics.progress, self.kind.name)
        service.turned()
        for key in (key for key, progress in snapshots.progress.items() if progress is None):
            service.log.warning("progress record not readable: the shard is read again", shard=key)
        pages = PagesTopic(str(topic_ids(cluster, [topics.pages])[topics.pages]), cluster.log_ends(topics.pages))
        return Found(shards, snapshots, topics, pages)

    def _start(self, shard: Shard, found: Found, service: Service) -> Progress:
        options = self.settings.options
        afresh = begin(shard, self.run_id, options, found.pages)
        before = found.snapshots.progress.get(shard.key)
        if before is None or self.settings.again:
            return afresh
        if difference := before.fits(shard, options, found.pages.id):
            service.log.warning("starts over", shard=shard.name, because=difference)
            return afresh
        if not before.finished:
            service.log.info("goes on", shard=shard.name, line=before.line)
        return msgspec.structs.replace(before, run=self.run_id)

    def _jobs(self, account: RunAccount, prepared: Prepared) -> Iterator[ShardJob]:
        chosen = self.settings.model_dump_json(exclude={"sources"})
        for shard in account.shards.values():
            if shard.state == "skipped":
                continue
            limit = None
            if self.settings.limit is not None:
                left = self.settings.limit - account.ledger.produced
                if left <= 0:
                    return
                limit = shard.ledger.produced + left
            wiki = shard.shard.origin.wiki
            baseline, sent = (str(folders.get(wiki, "")) for folders in (prepared.baselines, prepared.sent))
            yield job_for(shard.shard, shard.start, chosen, baseline=baseline, sent=sent, limit=limit)

    def _produce(self, account: RunAccount, prepared: Prepared, service: Service, rivals: Rivals) -> None:
        # With a limit one after the other: the same pages every time, and never one too many.
        at_once = 1 if self.settings.limit is not None else min(self.settings.processes or _cores(), _cores())
        with ShardProcesses(self._jobs(account, prepared), at_once) as processes, _display(service) as display:
            for event in processes.events():
                if event is not None:
                    account.take(event, service.metrics)
                    service.turned()  # reports come while a shard's loop turns, so a silent one ends in the watchdog
                if (rival := rivals.turn(account.shards)) is not None:
                    account.overtaken(rival)
                if service.stopping.is_set() or account.hopeless:
                    processes.stop()
                display.show(account)

    def _tell(self, account: RunAccount) -> None:
        if self.settings.json_output:
            print(msgspec.json.encode(result(account, self.run_id)).decode())
        else:
            Console(width=None if sys.stdout.isatty() else 120).print(ledger_table(account))


def _mine(settings: FileSettings, shards: list[Shard]) -> list[Shard]:
    """The shards of this producer, of those that share them: by their place in the order of keys."""
    if settings.shard_index >= settings.shard_count:
        raise UsageError(
            f"--shard-index {settings.shard_index} (or JOB_COMPLETION_INDEX) must be less than --shard-count "
            f"{settings.shard_count}: they count from 0"
        )
    ranks = {shard.key: rank for rank, shard in enumerate(sorted(shards, key=lambda shard: shard.key))}
    return [shard for shard in shards if ranks[shard.key] % settings.shard_count == settings.shard_index]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _display(service: Service) -> Display:
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal else Lines(service.log)


def _raise_failures(account: RunAccount) -> None:
    failures = account.failures
    if not failures:
        return
    kinds: dict[int, type[CirrostreamError]] = {Exit.FATAL: Fatal, Exit.TRY_AGAIN: TryAgain}
    lines = dict.fromkeys(failure.error for failure in failures)
    raise kinds.get(account.exit_code, CheckFailed)("\nerror: ".join(lines))
