"""A run over files: one process reads one file, this one gives them out and accounts for them.

Killed and started again, a run goes on where Kafka had acknowledged.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic

import msgspec

from pipeline.bars import open_display
from pipeline.cores import usable_cores
from pipeline.errors import CheckFailed, CirrostreamError, Exit, Fatal, TryAgain, UsageError
from pipeline.kafka import READ_SECONDS, Cluster
from pipeline.service import Service
from pipeline.terminal import report_console, write_json
from pipeline.topics import CorpusTopics, ensure_corpus
from producers.run.account import RunAccount, result
from producers.run.display import RunStanding, ledger_table
from producers.run.processes import Event, ShardJob, ShardProcesses
from producers.run.progress import PagesTopic, Progress, Rivals, begin, read_progress, recorded
from producers.run.queue import Expected, ShardQueue, open_queue
from producers.run.shards import Shard
from producers.run.source import FileSettings, S, Source


@dataclass(frozen=True, slots=True)
class Found:
    """All that is there before a run sends anything."""

    expected: Sequence[Expected]
    """All files of the sources, those of other producers too."""
    mine: frozenset[str]
    """Keys of this producer's."""
    progress: Mapping[str, Progress | None]
    """The newest progress of every file of this kind, by key; None for a record that cannot be read."""
    topics: CorpusTopics
    pages: PagesTopic


@dataclass(frozen=True, slots=True)
class Known:
    """All that is known of pages that were sent before: folders for the gates, by wiki."""

    baselines: dict[str, Path] = field(default_factory=dict)
    """The pages of it that `pages` holds."""
    sent: dict[str, Path] = field(default_factory=dict)
    """Those that earlier runs of these shards sent after they last wrote down their progress."""
    found: str = ""
    """Folder for what gates find out; empty: nobody asks."""


def run_source(source: Source[S], settings: S) -> int:
    """Sends the pages of the files that the settings name, and goes on where it was left; the exit code."""
    return FileRun(source, settings).run()


class FileRun(Generic[S]):
    """Sends the pages of the files of `settings` to `pages`, and goes on where it was left."""

    def __init__(self, source: Source[S], settings: S) -> None:
        self.source = source
        self.settings = settings
        self.options = settings.options
        """Once: a file of pages is read for it."""
        self.run_id = uuid.uuid4().hex[:16]

    def run(self) -> int:
        """Reads every shard that can be read, whatever becomes of the others."""
        queue = open_queue(self.settings, self.source.names_for(self.settings))
        mine = _mine(self.settings, queue.expected)
        with (
            Service("produce", self.settings) as service,
            ShardProcesses(self.source.name, self.at_once) as processes,
            closing(Cluster.connect(self.settings)) as cluster,
        ):
            found = self._found(cluster, queue, mine, service)
            jobs = _Jobs(self, queue, found, self.known(cluster, found, service), service)
            skipped = sum(shard.state == "skipped" for shard in jobs.account.shards.values())
            service.log.info("planned", run=self.run_id, shards=len(mine), finished_before=skipped)
            service.ready = True
            with Rivals(cluster, found.topics.progress, self.run_id) as rivals, queue:
                self._produce(jobs, processes, service, rivals)
            self.tell(jobs.account)
        _raise_failures(jobs.account)
        return Exit.DONE

    def read_progress(self, cluster: Cluster, topic: str) -> Mapping[str, Progress | None]:
        """The newest progress of every file of this source, by key."""
        return read_progress(cluster, topic, self.source.name)

    def known(self, cluster: Cluster, found: Found, service: Service) -> Known:
        """Checks and finds out what a source needs before anything is sent; may raise."""
        return Known()

    def is_whole(self, progress: Progress) -> bool:
        """True when a shard was read to its end, and everything is known of it that this version writes down."""
        return progress.finished

    def start_of(self, shard: Shard, found: Found, service: Service) -> Progress:
        """The place at which reading this shard goes on; raises what the source's own check does."""
        start = self._go_on(shard, found, service)
        if not start.finished:
            self.source.check(shard, self.settings)
        service.turned()
        return start

    def is_done(self, progress: Progress | None, found: Found) -> bool:
        """True when nothing is left to do for a shard with this progress, as far as can be told without its file."""
        if progress is None or self.settings.again or not self.is_whole(progress):
            return False
        return progress.options == self.options and progress.pages_topic == found.pages.id

    def _go_on(self, shard: Shard, found: Found, service: Service) -> Progress:
        afresh = begin(shard, self.run_id, self.options, found.pages)
        before = recorded(shard, found.progress)
        if before is None or self.settings.again:
            return afresh
        if difference := before.fits(shard, self.options, found.pages.id):
            service.log.warning("starts over", shard=shard.name, because=difference)
            return afresh
        if not before.finished:
            service.log.info("goes on", shard=shard.name, line=before.line)
        return msgspec.structs.replace(before, run=self.run_id, shard=shard.name, finished=self.is_whole(before))

    def _found(self, cluster: Cluster, queue: ShardQueue, mine: frozenset[str], service: Service) -> Found:
        topics = ensure_corpus(cluster, self.settings)
        with service.step(f"reading {topics.progress}", 2 * READ_SECONDS):
            progress = self.read_progress(cluster, topics.progress)
        for key in (key for key, record in progress.items() if record is None):
            service.log.warning("progress record not readable: the shard is read again", shard=key)
        log = cluster.log(topics.pages)
        return Found(queue.expected, mine, progress, topics, PagesTopic(log.topic_id, dict(log.ends)))

    @property
    def at_once(self) -> int:
        """Files that are read at once, if there are as many."""
        cores = usable_cores()
        # With a limit one after the other: the same pages every time, and never one too many.
        return 1 if self.settings.limit is not None else min(self.settings.processes or cores, cores)

    def _produce(self, jobs: _Jobs, processes: ShardProcesses, service: Service, rivals: Rivals) -> None:
        account = jobs.account
        with open_display(service.log) as display:
            for event in processes.events(jobs.next, lambda: jobs.exhausted):
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
                display.show(RunStanding(account, jobs.queue.downloads))

    def tell(self, account: RunAccount) -> None:
        """Prints what became of every shard."""
        if self.settings.json_output:
            write_json(msgspec.json.encode(result(account, self.run_id)))
        else:
            report_console().print(ledger_table(account))


class _Jobs:
    """The run's jobs, as their files come; and the account that they go into."""

    def __init__(self, run: FileRun[S], queue: ShardQueue, found: Found, known: Known, service: Service) -> None:
        self.queue = queue
        self.account = RunAccount({})
        self._limit = run.settings.limit
        self._known = known
        self._start_of: Callable[[Shard], Progress] = lambda shard: run.start_of(shard, found, service)
        for shard in queue.here:
            if shard.key in found.mine:
                self.account.add(shard, self._start_of(shard))
        for expected in found.expected:
            before = found.progress.get(expected.key)
            if expected.key in found.mine and expected.key not in self.account.shards and run.is_done(before, found):
                assert before is not None  # noqa: S101 - or it would not be done
                was = Shard(
                    run.source.name, expected.path, expected.origin, before.size, before.checksum, expected.folders
                )
                self.account.add(was, before)
        done = {key for key, shard in self.account.shards.items() if shard.state == "skipped"}
        queue.choose(lambda key: key in found.mine and key not in done)
        # A reader may use the cores that no other file needs.
        at_once = min(run.at_once, max(1, len(found.mine) - len(done)))
        self._chosen = run.settings.model_copy(update={"processes": at_once}).model_dump_json(exclude={"sources"})

    @property
    def exhausted(self) -> bool:
        return self.queue.exhausted or self.account.source_error is not None or self._left == 0

    def next(self) -> ShardJob | None:
        """The job for the next file that is here; an error of the source is kept for the end."""
        if self.exhausted:
            return None
        try:
            shard = self.queue.take()
        except CirrostreamError as error:
            self.account.source_error = error
            return None
        if shard is None:
            return None
        if shard.key not in self.account.shards:
            self.account.add(shard, self._start_of(shard))
        account = self.account.shards[shard.key]
        wiki = shard.origin.wiki
        return ShardJob(
            path=str(shard.path),
            key=shard.key,
            start=account.start,
            settings=self._chosen,
            baseline=str(self._known.baselines.get(wiki, "")),
            sent=str(self._known.sent.get(wiki, "")),
            found=self._known.found,
            limit=None if self._left is None else account.ledger.produced + self._left,
        )

    def ended(self, event: Event) -> None:
        """Gives a file back that has been read to its end."""
        account = self.account.shards[event.key]
        if event.report is None and account.state == "finished":
            self.queue.release(account.shard)

    @property
    def _left(self) -> int | None:
        """Pages that the limit leaves."""
        return None if self._limit is None else max(0, self._limit - self.account.ledger.produced)


def _mine(settings: FileSettings, expected: Sequence[Expected]) -> frozenset[str]:
    """The shards of this producer, of those that share them: by their place in the order of keys."""
    index, count = settings.own_index, settings.shard_count
    if index >= count:
        raise UsageError(
            f"--shard-index {index} (or JOB_COMPLETION_INDEX) must be less than "
            f"--shard-count {count}: they count from 0"
        )
    return frozenset(sorted(file.key for file in expected)[index::count])


def _raise_failures(account: RunAccount) -> None:
    kinds: dict[int, type[CirrostreamError]] = {Exit.FATAL: Fatal, Exit.TRY_AGAIN: TryAgain}
    lines = dict.fromkeys(failure.error for failure in account.failures)
    if lines:
        raise kinds.get(account.exit_code, CheckFailed)("\nerror: ".join(lines))
    if account.source_error is not None:
        raise account.source_error
