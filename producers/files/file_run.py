"""A run of a producer of files: one process reads one file, this one gives them out and accounts for them.

Killed and started again, a run goes on where Kafka had acknowledged.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic

import msgspec

from pipeline.cores import usable_cores
from pipeline.errors import CheckFailed, CirrostreamError, Exit, Fatal, TryAgain, UsageError
from pipeline.kafka import READ_SECONDS, Cluster
from pipeline.service import Service
from pipeline.terminal import Console, report_console, write_json
from pipeline.topics import CorpusTopics, ensure_corpus
from producers.files.feeds import Expected, Feed, open_feed
from producers.files.file_settings import FileSettings
from producers.files.page_reader import FileKind, S
from producers.files.progress import PagesTopic, Progress, begin
from producers.files.rivals import Rivals
from producers.files.run_account import RunAccount, result
from producers.files.run_display import Bars, Display, Lines, ledger_table
from producers.files.shard_job import ShardJob, job_for
from producers.files.shard_processes import Event, ShardProcesses
from producers.files.sources import Shard
from producers.snapshots.snapshots import Snapshots


@dataclass(frozen=True, slots=True)
class Found:
    """What is there before a run sends anything."""

    expected: Sequence[Expected]
    """All files of the sources, those of other producers too."""
    mine: frozenset[str]
    """Keys of this producer's."""
    snapshots: Snapshots
    topics: CorpusTopics
    pages: PagesTopic


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
        self.options = settings.options
        """Once: a file of pages is read for it."""
        self.run_id = uuid.uuid4().hex[:16]

    def run(self) -> int:
        """The whole of it. Every shard that could be read is, whatever becomes of the others."""
        feed = open_feed(self.settings, self.kind.names)
        mine = _mine(self.settings, feed.expected)
        with (
            Service("produce", self.settings) as service,
            ShardProcesses(self.kind.name, self._at_once) as processes,
            closing(Cluster.connect(self.settings)) as cluster,
        ):
            found = self._found(cluster, feed, mine, service)
            jobs = _Jobs(self, feed, found, self.prepare(cluster, found, service), service)
            skipped = sum(shard.state == "skipped" for shard in jobs.account.shards.values())
            service.log.info("planned", run=self.run_id, shards=len(mine), finished_before=skipped)
            service.ready = True
            with Rivals(cluster, found.topics.progress, self.run_id) as rivals, feed:
                self._produce(jobs, processes, service, rivals)
            self._tell(jobs.account)
        _raise_failures(jobs.account)
        return Exit.DONE

    def prepare(self, cluster: Cluster, found: Found, service: Service) -> Prepared:
        """What a kind of file checks and makes before anything is sent; may raise."""
        return Prepared()

    def start_of(self, shard: Shard, found: Found, service: Service) -> Progress:
        """Where reading this shard goes on; raises what the kind's own check does."""
        start = self._go_on(shard, found, service)
        if not start.finished:
            self.kind.check(shard, self.settings)
        service.turned()
        return start

    def _go_on(self, shard: Shard, found: Found, service: Service) -> Progress:
        afresh = begin(shard, self.run_id, self.options, found.pages)
        before = found.snapshots.progress.get(shard.key)
        if before is None or self.settings.again:
            return afresh
        if difference := before.fits(shard, self.options, found.pages.id):
            service.log.warning("starts over", shard=shard.name, because=difference)
            return afresh
        if not before.finished:
            service.log.info("goes on", shard=shard.name, line=before.line)
        return msgspec.structs.replace(before, run=self.run_id, finished=self.is_whole(before))

    def is_whole(self, progress: Progress) -> bool:
        """True when a shard was read to its end, and everything is known of it that this version writes down."""
        return progress.finished

    def is_done(self, progress: Progress | None, found: Found) -> bool:
        """Whether nothing is left to do for a shard with this progress, as far as can be told without its file."""
        if progress is None or self.settings.again or not self.is_whole(progress):
            return False
        return progress.options == self.options and progress.pages_topic == found.pages.id

    def _found(self, cluster: Cluster, feed: Feed, mine: frozenset[str], service: Service) -> Found:
        topics = ensure_corpus(cluster, self.settings)
        with service.step(f"reading {topics.progress}", 2 * READ_SECONDS):
            snapshots = Snapshots.read(cluster, topics.progress, self.kind.name)
        for key in (key for key, progress in snapshots.progress.items() if progress is None):
            service.log.warning("progress record not readable: the shard is read again", shard=key)
        log = cluster.log(topics.pages)
        return Found(feed.expected, mine, snapshots, topics, PagesTopic(log.topic_id, dict(log.ends)))

    @property
    def _at_once(self) -> int:
        cores = usable_cores()
        # With a limit one after the other: the same pages every time, and never one too many.
        return 1 if self.settings.limit is not None else min(self.settings.processes or cores, cores)

    def _produce(self, jobs: _Jobs, processes: ShardProcesses, service: Service, rivals: Rivals) -> None:
        account = jobs.account
        with _display(service) as display:
            for event in processes.events(jobs):
                # Reports come while a shard's loop turns, so a silent one ends in the watchdog.
                if event is not None or not processes.running:
                    service.turned()
                if event is not None:
                    account.take(event, service.metrics)
                    jobs.ended(event)
                if (rival := rivals.turn(account.shards)) is not None:
                    account.overtake(rival)
                if service.stopping.is_set() or account.hopeless:
                    processes.stop()
                display.show(account, jobs.feed.progress)

    def _tell(self, account: RunAccount) -> None:
        if self.settings.json_output:
            write_json(msgspec.json.encode(result(account, self.run_id)))
        else:
            report_console().print(ledger_table(account))


class _Jobs:
    """The run's jobs, as their files come; and the account that they go into."""

    def __init__(self, run: FileRun[S], feed: Feed, found: Found, prepared: Prepared, service: Service) -> None:
        self.feed = feed
        self.account = RunAccount({})
        self._settings: FileSettings = run.settings
        self._chosen = run.settings.model_dump_json(exclude={"sources"})
        self._prepared = prepared
        self._start_of: Callable[[Shard], Progress] = lambda shard: run.start_of(shard, found, service)
        progress = found.snapshots.progress
        here = [shard for shard in feed.here if shard.key in found.mine]
        for shard in here:
            self.account.add(shard, self._start_of(shard))
        for expected in found.expected:
            before = progress.get(expected.key)
            if expected.key in found.mine and expected.key not in self.account.shards and run.is_done(before, found):
                assert before is not None  # noqa: S101 - or it would not be done
                was = Shard(run.kind.name, expected.path, expected.origin, before.size, before.checksum)
                self.account.add(was, before)
        done = {key for key, shard in self.account.shards.items() if shard.state == "skipped"}
        feed.choose(lambda key: key in found.mine and key not in done)

    @property
    def exhausted(self) -> bool:
        return self.feed.exhausted or self.account.source_error is not None or self._left == 0

    def take(self) -> ShardJob | None:
        """The job for the next file that is here; an error of the source is kept for the end."""
        if self.exhausted:
            return None
        try:
            shard = self.feed.take()
        except CirrostreamError as error:
            self.account.source_error = error
            return None
        if shard is None:
            return None
        if shard.key not in self.account.shards:
            self.account.add(shard, self._start_of(shard))
        account = self.account.shards[shard.key]
        limit = None if self._left is None else account.ledger.produced + self._left
        baseline, sent = (
            str(folders.get(shard.origin.wiki, "")) for folders in (self._prepared.baselines, self._prepared.sent)
        )
        return job_for(shard, account.start, self._chosen, baseline=baseline, sent=sent, limit=limit)

    def ended(self, event: Event) -> None:
        """Gives a file back that has been read to its end."""
        account = self.account.shards[event.key]
        if event.report is None and account.state == "finished":
            self.feed.release(account.shard)

    @property
    def _left(self) -> int | None:
        """Pages that the limit leaves."""
        limit = self._settings.limit
        return None if limit is None else max(0, limit - self.account.ledger.produced)


def _mine(settings: FileSettings, expected: Sequence[Expected]) -> frozenset[str]:
    """The shards of this producer, of those that share them: by their place in the order of keys."""
    index, count = settings.own_index, settings.shard_count
    if index >= count:
        raise UsageError(
            f"--shard-index {index} (or JOB_COMPLETION_INDEX) must be less than "
            f"--shard-count {count}: they count from 0"
        )
    return frozenset(sorted(file.key for file in expected)[index::count])


def _display(service: Service) -> Display:
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal else Lines(service.log)


def _raise_failures(account: RunAccount) -> None:
    kinds: dict[int, type[CirrostreamError]] = {Exit.FATAL: Fatal, Exit.TRY_AGAIN: TryAgain}
    lines = dict.fromkeys(failure.error for failure in account.failures)
    if lines:
        raise kinds.get(account.exit_code, CheckFailed)("\nerror: ".join(lines))
    if account.source_error is not None:
        raise account.source_error
