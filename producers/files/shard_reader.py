"""Reads one shard into Kafka: file → pages → acknowledged → progress."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from pipeline.dead_letters import DeadLetters
from pipeline.errors import CheckFailed, Exit, Fatal, TryAgain
from pipeline.manifests import Manifest, manifest_parts
from pipeline.metrics import Metrics
from pipeline.publisher import Message, Publisher, RecordTooLarge
from pipeline.records import Page
from pipeline.settings import MIB
from pipeline.topics import corpus_topics
from producers.bytes.blocks import Damaged, WrongKind
from producers.files.file_settings import FileSettings
from producers.files.in_flight import Checkpoint, InFlight
from producers.files.page_gate import PageGate
from producers.files.page_reader import PageReader, Passed
from producers.files.progress_writer import ProgressWriter
from producers.files.sender import PageSender
from producers.files.shard_job import Report, ShardJob, State, peak_memory_bytes
from producers.snapshots.manifest_builder import ManifestBuilder

STAGE = "produce"
MAX_BYTES_IN_FLIGHT = 16 * MIB
"""Of one process: several 8 MiB pages, and far more than Kafka needs to be busy."""

LINGER_MS = 1_000
"""Pages spread over 32 partitions: with 5 ms most batches held one record, which costs client and broker the same as
sixty. Nobody waits so long: who waits for an acknowledgement has everything sent at once."""

ENTRIES_A_MARK = 50
REPORT_SECONDS = 0.5
ACKNOWLEDGE_SECONDS = 300.0
STOP_SECONDS = 6.0
"""How long a stopped process waits for what is in flight; the parent waits a little longer."""

ReportTo = Callable[[Report], None]


class _Stopped(Exception):
    """Reading was broken off by a signal."""


class ShardReader:
    """Reads one shard into `pages`, keeping its account and its progress.

    The account is always of whole entries, so that it balances wherever reading breaks off.
    """

    def __init__(
        self,
        job: ShardJob,
        settings: FileSettings,
        *,
        reader: PageReader,
        manifest: bool,
        publisher: Publisher,
        report: ReportTo,
    ) -> None:
        topics = corpus_topics(settings)
        self._job = job
        self._reader = reader
        self._gate = PageGate(settings, job.baseline, job.sent, manifest=manifest)
        self._caught_up = not manifest or job.start.line == 0
        self._report_to = report
        self._publisher = publisher
        # It outlives the shard, and what it has sent before is another job's.
        self._bytes_before, self._rebuilds_before = publisher.bytes_acknowledged, publisher.rebuilds
        self._progress_topic = topics.progress
        self._name = Path(job.path).name
        dead_letters = DeadLetters(publisher, topics.dead_letters, Metrics(STAGE), settings.max_dead_letters)
        self._sender = PageSender(publisher, topics.pages, dead_letters)
        self._position = job.start.position
        self._in_flight = InFlight(Checkpoint(self._position, job.start.ledger.copy(), dict(job.start.ends)))
        self._unmarked = 0
        self._reported_at = 0.0
        self._progress = ProgressWriter(
            publisher,
            topics.progress,
            job.key,
            job.start,
            pages=settings.progress_pages,
            seconds=settings.progress_seconds,
        )

    def run(self, stopping: threading.Event) -> State:
        """Reads until the shard's end, the limit or a stop; what was acknowledged is in `progress` when it returns.

        Raises:
            CheckFailed: the file is damaged; everything before the damage was sent.
            TryAgain: Kafka is away.
        """
        if self._job.start.line == 0:
            self._progress.begin(ACKNOWLEDGE_SECONDS)
        try:
            state: State = "finished" if self._read(stopping) else "limited"
        except _Stopped:
            return self._stop()
        except Damaged as damage:
            self._end(finished=False, damage=damage.kind)
            raise CheckFailed(self._describe(damage)) from damage
        self._end(finished=state == "finished", damage="")
        return state

    def report(self, state: State, error: str = "", exit_code: int = Exit.DONE) -> None:
        """Tells the parent how the shard stands."""
        reading = state == "reading"
        ledger = self._reader.ledger if reading and self._caught_up else self._in_flight.acknowledged().ledger
        self._reported_at = time.monotonic()
        self._report_to(
            Report(
                state=state,
                ledger=ledger,
                bytes_read=self._reader.bytes_read,
                bytes_sent=self._publisher.bytes_acknowledged - self._bytes_before,
                bytes_in_flight=self._publisher.bytes_in_flight if reading else 0,
                bytes_in_flight_limit=MAX_BYTES_IN_FLIGHT if reading else 0,
                producer_rebuilds=self._publisher.rebuilds - self._rebuilds_before,
                error=error,
                exit_code=exit_code,
                peak_memory_bytes=0 if reading else peak_memory_bytes(),
            )
        )

    def _read(self, stopping: threading.Event) -> bool:
        """Whether the shard's end was reached."""
        limit = self._job.limit
        for passed in self._reader.read(lambda: self._tick(stopping)):
            self._take(passed)
            self._keep_up(stopping)
            if limit is not None and self._reader.ledger.produced >= limit:
                return False
        return True

    def _take(self, passed: Passed) -> None:
        line = passed.after.line
        if passed.unreadable is not None:
            self._gate.unreadable(passed.unreadable)
        if passed.page is not None and (reason := self._refused(passed.page, line - 1)):
            self._reader.ledger.refuse(reason)
        if self._caught_up:
            self._position = passed.after
            self._unmarked += 1
        self._caught_up = self._caught_up or line >= self._job.start.line

    def _refused(self, page: Page, line: int) -> str:
        """Sends the page, unless an earlier run has, or says why not."""
        if reason := self._gate.refuses(page):
            return reason
        if not self._caught_up or self._gate.was_sent(page):
            return "" if self._sender.fits(page) else self._gate.too_large(page)
        if (handed := self._sender.send(page, self._name, line)) is None:
            return self._gate.too_large(page)
        self._in_flight.sent(handed.delivery, handed.size)
        return ""

    def _keep_up(self, stopping: threading.Event) -> None:
        due = self._caught_up and self._progress.due(self._reader.ledger.produced)
        if due or self._unmarked >= ENTRIES_A_MARK:
            self._mark()
        if due:
            self._progress.write(self._in_flight.acknowledged(), self._reader.ledger.produced)
        self._tick(stopping)

    def _mark(self) -> None:
        self._in_flight.mark(Checkpoint(self._position, self._reader.ledger.copy()))
        self._unmarked = 0

    def _tick(self, stopping: threading.Event) -> None:
        if stopping.is_set():
            raise _Stopped
        if time.monotonic() - self._reported_at >= REPORT_SECONDS:
            self.report("reading")

    def _end(self, *, finished: bool, damage: str) -> None:
        self._mark()
        try:
            reached = self._in_flight.wait(ACKNOWLEDGE_SECONDS)
        except RecordTooLarge as error:
            raise Fatal(f"the brokers take smaller records than their topic says: {error}") from error
        manifest = self._gate.manifest if finished else None
        if manifest is not None:
            self._publish(manifest)
        self._progress.finish(
            reached,
            finished=finished,
            damage=damage,
            timeout_s=ACKNOWLEDGE_SECONDS,
            shape=None if manifest is None else manifest.shape,
        )

    def _publish(self, manifest: ManifestBuilder) -> None:
        """Before the progress that says so: a finished shard has its manifest."""
        start = self._job.start
        blank = Manifest(
            wiki=start.wiki,
            snapshot=start.snapshot,
            shard=self._job.key,
            options=start.options,
            pages_topic=start.pages_topic,
        )
        for part in manifest_parts(manifest.entries(), blank):
            message = Message(self._progress_topic, part.key, msgspec.msgpack.encode(part))
            self._publisher.publish([message]).wait(ACKNOWLEDGE_SECONDS)

    def _stop(self) -> State:
        """Writes down what is acknowledged; a Kafka that does not answer now costs work later, nothing else."""
        if not self._caught_up:
            return "stopped"
        self._mark()
        deadline = time.monotonic() + STOP_SECONDS
        with contextlib.suppress(TryAgain, RecordTooLarge):
            self._in_flight.wait(STOP_SECONDS * 2 / 3)
        reached = self._in_flight.acknowledged()
        try:
            self._progress.finish(reached, finished=False, damage="", timeout_s=max(0.5, deadline - time.monotonic()))
        except TryAgain:
            structlog.get_logger().warning("stopped before Kafka acknowledged the last progress", shard=self._job.key)
        return "stopped"

    def _describe(self, damage: Damaged) -> str:
        if isinstance(damage, WrongKind):
            return f"{self._job.path}: {damage}"
        sent = self._reader.ledger.produced
        return (
            f"{self._job.path}: {damage.kind} at byte {damage.byte:,} of {self._job.start.size:,} ({damage}); "
            f"the {sent:,} pages before that were sent; fetch the file again, then run this again"
        )
