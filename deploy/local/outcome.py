"""The end of a run, and the sum of its work."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from deploy.local.report import RunReport, StageReport, package_versions
from deploy.local.run_settings import RunSettings
from deploy.local.supervisor import Supervisor, failure_line
from deploy.local.watch import Watcher
from pipeline.addresses import without_secrets
from pipeline.errors import CirrostreamError, Exit
from pipeline.kafka import Cluster
from pipeline.model_files import ModelFiles
from pipeline.status.kafka_watcher import KafkaView
from pipeline.topics import CorpusTopics
from producers.account import Ledger, total
from producers.run.progress import read_progress, recorded
from producers.run.queue import ShardQueue

INTERRUPTED = 130
"""The exit code that shells give a command that Ctrl-C has ended."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a run: `incomplete` when all that could be read is in the table, and something could not be read."""

    kind: Literal["complete", "incomplete", "failed", "stopped"]
    exit_code: int
    problem: str = ""


def outcome_of(supervisor: Supervisor, kafka: KafkaView, *, stopped: bool, follow: bool) -> Outcome | None:
    """The end of the run, or None while it goes on."""
    if supervisor.failed is not None:
        return Outcome("failed", Exit.CHECK_FAILED, failure_line(supervisor.failed))
    if kafka.fatal is not None:
        return Outcome("failed", Exit.CHECK_FAILED, str(kafka.fatal))
    if stopped:
        return Outcome("stopped", Exit.DONE if follow else INTERRUPTED)
    if not kafka.done or follow:
        return None
    missing = supervisor.incomplete
    if missing is not None:
        return Outcome("incomplete", Exit.CHECK_FAILED, failure_line(missing))
    return Outcome("complete", Exit.DONE)


def table_has_all(cluster: Cluster, settings: RunSettings, vectors: str) -> bool:
    """True when the table's fence is at the end of `vectors`: commits alone do not know that a table was deleted."""
    from sinks.storage import connect, open_table, read_fence

    try:
        fence = read_fence(open_table(connect(settings.lance_location), settings.table)).fence
        return all(fence.offsets.get(partition, 0) >= end for partition, end in cluster.log(vectors).ends.items())
    except (CirrostreamError, OSError):
        return False


@dataclass(frozen=True, slots=True)
class ReportBuilder:
    """Makes a run's report; it holds the counts from before the run."""

    cluster: Cluster
    corpus: CorpusTopics
    settings: RunSettings
    queue: ShardQueue
    started: datetime
    pages: int
    dead_letters: int

    @classmethod
    def begin(
        cls, cluster: Cluster, corpus: CorpusTopics, settings: RunSettings, queue: ShardQueue, started: datetime
    ) -> ReportBuilder:
        pages, letters = (sum(cluster.log(topic).ends.values()) for topic in (corpus.pages, corpus.dead_letters))
        return cls(cluster, corpus, settings, queue, started, pages, letters)

    def report(
        self,
        outcome: Outcome,
        model: ModelFiles,
        supervisor: Supervisor,
        watcher: Watcher,
        ended: datetime | None = None,
    ) -> RunReport:
        """The report of the run that ended now, or `ended` when its last page was in; what cannot be asked any more is
        left out, never the report."""
        ended = ended or datetime.now(UTC)
        seconds = (ended - self.started).total_seconds()
        return RunReport(
            outcome=outcome.kind,
            problem=without_secrets(outcome.problem),
            exit_code=outcome.exit_code,
            started=self.started.isoformat(timespec="seconds"),
            ended=ended.isoformat(timespec="seconds"),
            seconds=round(seconds, 1),
            sources=[without_secrets(source) for source in self.settings.sources],
            model=model.tag,
            table=without_secrets(f"{self.settings.lance_location}/{self.settings.table}"),
            kafka=self.cluster.bootstrap,
            ledger=self.ledger(),
            pages_sent=self._added(self.corpus.pages, self.pages),
            rows=self._rows(),
            dead_letters=self._added(self.corpus.dead_letters, self.dead_letters),
            stages={stage: _stage(stage, supervisor, watcher, seconds) for stage in supervisor.stages},
            versions=package_versions(),
            logs=str(self.settings.data_dir / "logs"),
            unknown_share=_unknown_share(watcher),
        )

    def ledger(self) -> Ledger:
        """The account of this run's shards; empty for those that never got a record."""
        try:
            progress = read_progress(self.cluster, self.corpus.progress, self.settings.SOURCE)
        except CirrostreamError:
            return Ledger()
        found = {shard.key: recorded(shard, progress) for shard in self.queue.here}
        other = {file.key: progress.get(file.key) for file in self.queue.expected if file.key not in found}
        return total([each.ledger for each in (*found.values(), *other.values()) if each is not None])

    def _added(self, topic: str, before: int) -> int:
        try:
            return sum(self.cluster.log(topic).ends.values()) - before
        except CirrostreamError:
            return 0

    def _rows(self) -> int | None:
        from sinks.rows import LIVE
        from sinks.storage import connect, has_table, open_table, retried

        try:
            database = connect(self.settings.lance_location)
            if not has_table(database, self.settings.table):
                return None
            lance = open_table(database, self.settings.table)
            return int(retried(lambda: lance.count_rows(LIVE), self.settings.table))
        except (CirrostreamError, OSError):
            return None


def _unknown_share(watcher: Watcher) -> float | None:
    chunked = watcher.total("chunk")
    return round(chunked.unknown_characters / chunked.characters, 6) if chunked.characters else None


def _stage(stage: str, supervisor: Supervisor, watcher: Watcher, seconds: float) -> StageReport:
    replicas = [replica for replica in supervisor.replicas if replica.plan.stage == stage]
    sums = watcher.total(stage)
    return StageReport(
        replicas=len(replicas),
        records=round(sums.records),
        records_per_second=round(sums.records / max(0.001, seconds), 1),
        chunks=round(sums.chunks),
        tokens=round(sums.tokens),
        restarts=sum(replica.restarts for replica in replicas),
        peak_memory_bytes=watcher.peaks.get(stage, 0),
    )
