"""The state of a run, over all its shards."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field

import msgspec

from pipeline.errors import CirrostreamError, Exit
from pipeline.metrics import Metrics
from producers.account import Ledger, total
from producers.run.processes import Event, Report, State
from producers.run.progress import Progress, Rival
from producers.run.shards import Shard

_STOPPING_CODES = (Exit.FATAL, Exit.TRY_AGAIN)
"""Codes that end the other shards too: the cause is not the shard's own."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Bytes that a shard's process has handed to Kafka, as it last said."""

    bytes_acknowledged: int = 0
    bytes_in_flight: int = 0
    bytes_in_flight_limit: int = 0
    rebuilds: int = 0

    @classmethod
    def of(cls, report: Report) -> Sent:
        """Said by this report."""
        return cls(report.bytes_sent, report.bytes_in_flight, report.bytes_in_flight_limit, report.producer_rebuilds)


@dataclass(slots=True)
class ShardAccount:
    """One shard: where it began in this run, and what its process said last."""

    shard: Shard
    start: Progress
    state: State
    ledger: Ledger
    bytes_read: int = 0
    error: str = ""
    exit_code: int = Exit.DONE
    peak_memory_bytes: int = 0
    sent: Sent = Sent()
    overtaken: bool = False
    """Another run reads it too: what its process says of its end counts for nothing."""

    @property
    def produced_now(self) -> int:
        """Pages sent by this run alone."""
        return max(0, self.ledger.produced - self.start.ledger.produced)


@dataclass(slots=True)
class RunAccount:
    """All shards of a run, by the key of their progress."""

    shards: dict[str, ShardAccount]
    source_error: CirrostreamError | None = None
    """Why no more files came."""
    started_at: float = field(default_factory=time.monotonic)

    def add(self, shard: Shard, start: Progress) -> None:
        """Takes in a shard that has come."""
        self.shards[shard.key] = _begin(shard, start)

    def take(self, event: Event, metrics: Metrics) -> None:
        """Brings the account and the metrics up to date with what a shard's process said."""
        account = self.shards[event.key]
        if event.report is not None:
            _count(metrics, account, event.report)
            report = event.report
            account.ledger, account.bytes_read = report.ledger, report.bytes_read
            account.sent = Sent.of(report)
            account.peak_memory_bytes = report.peak_memory_bytes
            if not account.overtaken:
                account.state, account.error, account.exit_code = report.state, report.error, report.exit_code
        elif account.overtaken:
            pass  # however its process ended
        elif event.exit_code != Exit.DONE:
            # It wrote down its progress as it went: what it handed over and did not write down is sent again.
            account.state, account.exit_code = "failed", Exit.TRY_AGAIN
            account.error = f"{account.shard.path}: its process {_death(event.exit_code)}; run this again to go on"
        elif account.state in ("waiting", "reading"):
            account.state = "stopped"
            account.error = "stopped before Kafka had acknowledged all of it: the rest is sent again next time"
        self._observe(metrics)

    def _observe(self, metrics: Metrics) -> None:
        sent = [account.sent for account in self.shards.values() if account.state == "reading"]
        metrics.bytes_in_flight.set(sum(one.bytes_in_flight for one in sent))
        metrics.bytes_in_flight_limit.set(sum(one.bytes_in_flight_limit for one in sent))

    def overtake(self, rival: Rival) -> None:
        """Fails the shard that another run reads as well."""
        account = self.shards[rival.key]
        account.state, account.exit_code, account.overtaken = "failed", Exit.TRY_AGAIN, True
        account.error = (
            f"{account.shard.path}: run {rival.run} reads it too; this one stops, nothing is lost: let one of them go "
            "on, or part the shards with --shard-index and --shard-count"
        )

    @property
    def ledger(self) -> Ledger:
        return total([account.ledger for account in self.shards.values()])

    @property
    def produced_now(self) -> int:
        return sum(account.produced_now for account in self.shards.values())

    @property
    def pages_per_second(self) -> float:
        return self.produced_now / max(0.001, time.monotonic() - self.started_at)

    @property
    def failures(self) -> list[ShardAccount]:
        return [account for account in self.shards.values() if account.state == "failed"]

    @property
    def hopeless(self) -> bool:
        """True when a shard failed for a reason that the others share, such as Kafka being away."""
        return any(failure.exit_code in _STOPPING_CODES for failure in self.failures)

    @property
    def exit_code(self) -> int:
        """The gravest of the shards' codes: 70, then 75, then 1."""
        codes = {failure.exit_code for failure in self.failures}
        return next((code for code in (*_STOPPING_CODES, *sorted(codes)) if code in codes), Exit.DONE)


def _begin(shard: Shard, start: Progress) -> ShardAccount:
    state: State = "skipped" if start.finished else "waiting"
    return ShardAccount(shard, start, state, start.ledger, bytes_read=shard.size if start.finished else 0)


def _count(metrics: Metrics, account: ShardAccount, report: Report) -> None:
    """Adds what is new since the last report; the last one may say less than that before it, which counts nothing."""
    before, now = account.ledger, report.ledger
    metrics.count(max(0, now.produced - before.produced))
    metrics.bytes_in.inc(max(0, report.bytes_read - account.bytes_read))
    metrics.bytes_out.inc(max(0, report.bytes_sent - account.sent.bytes_acknowledged))
    metrics.producer_rebuilds.inc(max(0, report.producer_rebuilds - account.sent.rebuilds))
    for reasons, old in ((now.dropped, before.dropped), (now.malformed, before.malformed)):
        for reason, count in reasons.items():
            metrics.drop(reason, max(0, count - old.get(reason, 0)))
    for _ in range(now.dropped.get("too_large", 0) - before.dropped.get("too_large", 0)):
        metrics.dead_letter("too_large")


def _death(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


class ShardResult(msgspec.Struct, frozen=True, kw_only=True):
    """One shard in `--json`."""

    shard: str
    wiki: str
    snapshot: str
    state: State
    ledger: Ledger
    sent_now: int
    error: str
    peak_memory_bytes: int


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """The document that `--json` prints."""

    run: str
    exit_code: int
    balanced: bool
    seconds: float
    sent_now: int
    shards: list[ShardResult]
    total: Ledger


def result(account: RunAccount, run: str) -> RunResult:
    """The run as `--json` says it."""
    shards = [
        ShardResult(
            shard=a.shard.name,
            wiki=a.shard.origin.wiki,
            snapshot=a.shard.origin.snapshot,
            state=a.state,
            ledger=a.ledger,
            sent_now=a.produced_now,
            error=a.error,
            peak_memory_bytes=a.peak_memory_bytes,
        )
        for a in account.shards.values()
    ]
    return RunResult(
        run=run,
        exit_code=account.exit_code,
        balanced=all(shard.ledger.balanced for shard in shards),
        seconds=round(time.monotonic() - account.started_at, 3),
        sent_now=account.produced_now,
        shards=shards,
        total=account.ledger,
    )
