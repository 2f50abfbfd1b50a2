"""One shard into Kafka: its entries → account and pages → acknowledged → progress."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import structlog

from pipeline.dead_letters import DeadLetters
from pipeline.errors import CheckFailed, Exit, Fatal, Stopped, TryAgain
from pipeline.metrics import Metrics
from pipeline.publisher import Message, Publisher, RecordTooLarge
from pipeline.records import Page
from pipeline.settings import MIB
from pipeline.topics import corpus_topics
from producers.account import Ledger
from producers.bytes.blocks import Damaged, WrongKind
from producers.bytes.lines import BEGINNING
from producers.reader import UNREADABLE, DocumentReader, Entry
from producers.run.delivery import InFlight, PageSender
from producers.run.processes import Report, ShardJob, State, peak_memory_bytes
from producers.run.progress import UNUSABLE
from producers.run.progress_writer import Passed, ProgressWriter
from producers.run.source import TOO_LARGE, FileSettings, Gate

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


class ShardRun:
    """Reads one shard into `pages`, keeping its account and its progress.

    The account is always of whole entries, so that it balances wherever reading breaks off.
    """

    def __init__(
        self,
        job: ShardJob,
        settings: FileSettings,
        *,
        reader: DocumentReader,
        gate: Gate,
        publisher: Publisher,
        report: ReportTo,
    ) -> None:
        topics = corpus_topics(settings)
        self._job = job
        self._reader = reader
        self._gate = gate
        # A gate that must see the whole file has what earlier runs sent read once more, and not sent.
        self._begin = Passed(BEGINNING, Ledger()) if gate.whole else Passed(job.start.position, job.start.ledger.copy())
        self._ledger = self._begin.ledger
        self._caught_up = not gate.whole or job.start.line == 0
        self._report_to = report
        self._publisher = publisher
        # It outlives the shard, and what it has sent before is another job's.
        self._bytes_before, self._rebuilds_before = publisher.bytes_acknowledged, publisher.rebuilds
        self._progress_topic = topics.progress
        self._name = job.path.rpartition("/")[2]
        dead_letters = DeadLetters(publisher, topics.dead_letters, Metrics(STAGE), settings.max_dead_letters)
        self._sender = PageSender(publisher, topics.pages, dead_letters)
        self._position = job.start.position
        self._in_flight = InFlight(Passed(self._position, job.start.ledger.copy()), job.start.ends)
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
            if state == "finished" and self._useless:
                self._end(finished=False, damage=UNUSABLE)
                raise CheckFailed(self._nothing_of_it())
        except Stopped:
            return self._stop()
        except Damaged as damage:
            self._end(finished=False, damage=damage.kind)
            raise CheckFailed(self._describe(damage)) from damage
        self._end(finished=state == "finished", damage="")
        return state

    def report(self, state: State, error: str = "", exit_code: int = Exit.DONE) -> None:
        """Tells the parent how the shard stands."""
        reading = state == "reading"
        ledger = self._ledger if reading and self._caught_up else self._in_flight.acknowledged().place.ledger
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
        """Reads the entries; True when the shard's end was reached."""
        limit = self._job.limit
        for entry in self._reader.read(self._begin.position, lambda: self._tick(stopping)):
            self._take(entry)
            self._keep_up(stopping)
            if limit is not None and self._ledger.produced >= limit:
                return False
        return True

    def _take(self, entry: Entry) -> None:
        refused = ""
        if isinstance(entry.page, Page):
            refused = self._send(entry.page, entry.after.line - 1)
        elif entry.unreadable:
            self._gate.unreadable(entry)
        self._ledger.take(entry, refused)
        if self._caught_up:
            self._position = entry.after
            self._unmarked += 1
        self._caught_up = self._caught_up or entry.after.line >= self._job.start.line

    def _send(self, page: Page, line: int) -> str:
        """Sends the page, unless an earlier run has; the reason when it is not to be sent."""
        if reason := self._gate.refuses(page):
            return reason
        if not self._caught_up or self._gate.was_sent(page):
            fits = self._sender.fits(page)
        elif fits := (handed := self._sender.send(page, self._name, line)) is not None:
            self._in_flight.sent(handed.delivery, handed.size)
        if not fits:
            self._gate.too_large(page)
        return "" if fits else TOO_LARGE

    def _keep_up(self, stopping: threading.Event) -> None:
        due = self._caught_up and self._progress.due(self._ledger.produced)
        if due or self._unmarked >= ENTRIES_A_MARK:
            self._mark()
        if due:
            self._progress.write(self._in_flight.acknowledged(), self._ledger.produced)
        self._tick(stopping)

    def _mark(self) -> None:
        self._in_flight.mark(Passed(self._position, self._ledger.copy()))
        self._unmarked = 0

    def _tick(self, stopping: threading.Event) -> None:
        if stopping.is_set():
            raise Stopped
        if time.monotonic() - self._reported_at >= REPORT_SECONDS:
            self.report("reading")

    def _end(self, *, finished: bool, damage: str) -> None:
        self._mark()
        try:
            reached = self._in_flight.wait(ACKNOWLEDGE_SECONDS)
        except RecordTooLarge as error:
            raise Fatal(f"the brokers take smaller records than their topic says: {error}") from error
        if finished:
            for key, value in self._gate.records(self._job):
                message = Message(self._progress_topic, key, value)
                self._publisher.publish([message]).wait(ACKNOWLEDGE_SECONDS)
        self._progress.finish(
            reached,
            finished=finished,
            damage=damage,
            timeout_s=ACKNOWLEDGE_SECONDS,
            shape=self._gate.shape if finished else None,
        )

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

    @property
    def _useless(self) -> bool:
        """True when nothing of the file could be read as a page: then it is not what somebody took it for.

        A single record that lacks something says nothing of others: where each file is one, the rest may be right. A
        snapshot is judged when it is finished, shard by shard, and its owner may accept what could not be read.
        """
        if self._gate.whole:
            return False
        ledger = self._ledger
        left_out = sum(count for reason, count in ledger.dropped.items() if reason not in UNREADABLE)
        return (ledger.read > 1 or bool(ledger.malformed)) and not ledger.produced and not left_out

    def _nothing_of_it(self) -> str:
        ledger = self._ledger
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in (ledger.dropped | ledger.malformed).items())
        return (
            f"{self._job.path}: none of its {ledger.read:,} records could be used ({reasons}), so it does not count as "
            f"read; `python -m producers.{self._job.key.partition('/')[0]} --help` has the flags that say what is in a "
            "record"
        )

    def _describe(self, damage: Damaged) -> str:
        if isinstance(damage, WrongKind):
            return f"{self._job.path}: {damage}"
        sent = self._ledger.produced
        return (
            f"{self._job.path}: {damage.kind} at byte {damage.byte:,} of {self._job.start.size:,} ({damage}); "
            f"the {sent:,} pages before that were sent; fetch the file again, then run this again"
        )
