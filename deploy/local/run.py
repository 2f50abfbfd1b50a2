"""A whole pipeline on one machine: Kafka, all stages, and when it is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from deploy.local import estimate as estimates
from deploy.local import report as reports
from deploy.local.claim import claimed
from deploy.local.kafka import LocalKafka
from deploy.local.monitor import monitor_of
from deploy.local.outcome import Outcome, ReportBuilder, outcome_of, table_has_all
from deploy.local.rate import expected_rate
from deploy.local.readiness import Readiness, final, table_is_ready
from deploy.local.run_settings import RunSettings
from deploy.local.running import running_kafka
from deploy.local.signals import stop_signals
from deploy.local.stages import (
    Machine,
    producer_plan,
    sink_plan,
    stage_environment,
    supervisor_of,
    this_machine,
    worker_plans,
)
from deploy.local.supervision import LEFTOVER_S, Supervision, fresh_announcements
from deploy.local.tidy import run_claim_path
from deploy.local.watch import watcher_of
from pipeline.kafka import Cluster
from pipeline.lag.backlog import model_steps
from pipeline.model_card import languages_warning
from pipeline.model_files import ModelFiles, resolve
from pipeline.replay import set_back
from pipeline.settings import kafka_settings
from pipeline.status.whole import Source
from pipeline.terminal import say_aside, write_json
from pipeline.topics import ensure_corpus, ensure_model
from producers.run.queue import ShardQueue, open_queue
from sinks.languages import language_of

STOP_S = 30.0
DEFAULT_DIMENSION = 384
UNKNOWN_SHARE = 0.05
"""Of the text, from which on the model is not one for it (docs/models.md)."""


def run_pipeline(settings: RunSettings) -> int:
    """Runs all of `settings.sources` through the pipeline; the exit code, with the reason on stderr.

    0: every page is in the table or in the dead letters. 1: not, and which stage failed, why, and where its log
    is. 130: Ctrl-C.

    Raises:
        UsageError: nothing was started: no such source, no room, another run works on this data folder.
        Fatal, TryAgain: Kafka or its topics cannot be used.
    """
    source = settings.reads
    queue = open_queue(settings, source.names_for(settings))
    for shard in estimates.spread(queue.here):
        source.check(shard, settings)
    settings = _pinned(settings, queue)
    with claimed(run_claim_path(settings.data_dir), LEFTOVER_S):
        model = resolve(settings, weights=False)
        machine = this_machine()
        forecast = _estimate(settings, queue, model, machine)
        with stop_signals() as stopping, local_kafka(settings) as kafka:
            run = Run(settings, queue, model, machine, kafka, stopping, forecast)
            return run.run()


def _pinned(settings: RunSettings, queue: ShardQueue) -> RunSettings:
    """The settings with the date of the snapshot that is the latest now: the producer may ask again in a week."""
    dates = {file.origin.snapshot for file in queue.expected}
    return settings.model_copy(update={"snapshot": max(dates)}) if settings.downloads else settings


@contextmanager
def local_kafka(settings: RunSettings) -> Iterator[LocalKafka | None]:
    """A Kafka of our own for a block, unless the environment names a cluster or one runs on the data folder already."""
    if kafka_settings().bootstrap_servers or running_kafka(settings.data_dir) is not None:
        yield None
        return
    began = time.monotonic()
    with LocalKafka(settings.data_dir) as kafka:
        say_aside(f"Kafka at {kafka.bootstrap}, up in {time.monotonic() - began:.1f} s")
        yield kafka


def _estimate(
    settings: RunSettings, queue: ShardQueue, model: ModelFiles, machine: Machine
) -> estimates.Estimate | None:
    if not settings.estimate:
        return None
    if not queue.here:
        _warn_of_languages(model, [language_of(None, file.origin.wiki) for file in queue.expected])
        say_aside(
            f"no estimate: {len(queue.expected):,} files are downloaded first, into {settings.data_dir / 'dumps'}"
        )
        return None
    rate, basis = expected_rate(settings.data_dir / "reports", model.tag, machine)
    forecast = estimates.forecast(queue.here, settings, model.dimension or DEFAULT_DIMENSION, rate, basis)
    say_aside(estimates.describe(forecast))
    _warn_of_languages(model, forecast.languages)
    estimates.check_disk(forecast, settings, local_kafka=not kafka_settings().bootstrap_servers)
    return forecast


def _warn_of_languages(model: ModelFiles, languages: Iterable[str]) -> None:
    if warning := languages_warning(model.name, model.languages, languages):
        say_aside(f"warning: {warning}")


@dataclass
class Run:
    """One run, from its topics to its report."""

    settings: RunSettings
    queue: ShardQueue
    """The files of the source."""
    model: ModelFiles
    machine: Machine
    kafka: LocalKafka | None
    stopping: threading.Event
    forecast: estimates.Estimate | None
    stored: Outcome | None = None
    """The outcome since all pages are in the table; what is waited for then changes nothing of it."""
    stored_at: datetime | None = None
    """When the last page was in the table."""

    def run(self) -> int:
        """Supervises until the source is done, something cannot be, or somebody stops it."""
        started = datetime.now(UTC)
        cluster = Cluster.connect(self.settings)
        try:
            corpus = ensure_corpus(cluster, self.settings)
            topics = ensure_model(cluster, self.settings, self.model.tag)
            if self.settings.rebuild:
                set_back(cluster, corpus.pages, topics.chunk_group, {})
            builder = ReportBuilder.begin(cluster, corpus, self.settings, self.queue, started)
            work = self._supervision(cluster, builder)
            ready = Readiness(self.settings.ready_seconds, lambda: table_is_ready(work.announce_dir))
            outcome = work.until(
                lambda: self._ended(work, lambda: table_has_all(cluster, self.settings, topics.vectors), ready)
            )
            outcome, warning = final(outcome, self.stored, ready)
            if warning:
                say_aside(f"warning: {warning}")
            report = builder.report(outcome, self.model, work.supervisor, work.watcher, self.stored_at)
            return self._tell(report, started)
        finally:
            cluster.close()

    def _supervision(self, cluster: Cluster, builder: ReportBuilder) -> Supervision:
        settings, logs = self.settings, self.settings.data_dir / "logs"
        announce_dir = fresh_announcements(settings.data_dir)
        environment = stage_environment(settings, self.model, cluster.bootstrap, announce_dir)
        workers = worker_plans(settings, self.machine, environment, logs)
        plans = [producer_plan(settings, environment, logs), *workers, sink_plan(environment, logs)]
        supervisor = supervisor_of(plans)
        steps = model_steps(settings, self.model.tag)
        source = self._source(builder)
        watcher = watcher_of(settings, self.model.tag, supervisor, announce_dir, steps=steps, source=source)
        monitor = monitor_of(settings, environment, say_aside)
        return Supervision(supervisor, watcher, announce_dir, self.stopping, STOP_S, self.kafka, monitor)

    def _source(self, builder: ReportBuilder) -> Source:
        """The source of the run, as far as the estimate knows it."""
        if self.forecast is None:
            return Source()
        pages = self.forecast.pages
        return Source(builder.ledger().produced, pages, self.forecast.tokens / pages if pages else None)

    def _ended(self, work: Supervision, stored: Callable[[], bool], ready: Readiness) -> Outcome | None:
        if work.supervisor.reading_is_over:
            work.watcher.reading_is_over()
        outcome = outcome_of(
            work.supervisor, work.watcher.view, stopped=self.stopping.is_set(), follow=self.settings.follow
        )
        if outcome is None or outcome.kind not in ("complete", "incomplete"):
            return outcome
        if self.stored_at is None:
            if not stored():
                return None
            self.stored, self.stored_at = outcome, datetime.now(UTC)
        if ready.turn():
            return outcome
        work.watcher.note = ready.says
        return None

    def _tell(self, report: reports.RunReport, started: datetime) -> int:
        path = reports.write(report, self.settings.data_dir / "reports", started)
        if self.settings.json_output:
            write_json(msgspec.json.encode(report))
        rows = "" if report.rows is None else f", {report.rows:,} rows in table {self.settings.table}"
        say_aside(
            f"{report.outcome} in {report.seconds:.1f} s: {report.pages_sent:,} pages sent, "
            f"{report.ledger.produced:,} of {report.ledger.read:,} documents of the source are pages{rows}, "
            f"{report.dead_letters:,} dead letters"
        )
        if (report.unknown_share or 0) > UNKNOWN_SHARE:
            share = reports.percentage(report.unknown_share)
            say_aside(f"warning: {self.model.name} does not know {share} of the text (docs/models.md)")
        say_aside(f"report: {path}")
        if report.problem:
            say_aside(f"error: {report.problem}")
        elif report.outcome == "stopped":
            say_aside("stopped; the same command goes on where it was")
        return report.exit_code
