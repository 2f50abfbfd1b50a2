"""A whole pipeline on one machine: Kafka, all stages, and when it is done."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from deploy.local import estimate as estimates
from deploy.local import report as reports
from deploy.local.broker_keeper import BrokerKeeper
from deploy.local.child import Child
from deploy.local.claim import claimed
from deploy.local.kafka import LocalKafka
from deploy.local.live import Screen, screen
from deploy.local.outcome import Outcome, Reckoning, outcome_of, table_has_all
from deploy.local.rate import expected_rate
from deploy.local.run_settings import RunSettings
from deploy.local.running import running_kafka
from deploy.local.signals import stop_signals
from deploy.local.stages import (
    Machine,
    producer_plan,
    stage_environment,
    this_machine,
    worker_plans,
)
from deploy.local.supervisor import Plan, Supervisor, failure_line
from deploy.local.tidy import run_claim_path
from deploy.local.watch import Watcher
from pipeline.backlog import ClusterLog, Step
from pipeline.errors import CirrostreamError, Exit
from pipeline.kafka import Cluster
from pipeline.model_files import ModelFiles, resolve
from pipeline.replay import set_back
from pipeline.settings import KafkaSettings
from pipeline.topics import CorpusTopics, ModelTopics, ensure_corpus, ensure_model, lance_group
from producers.cirrussearch.cirrus_names import CIRRUS_NAMES
from producers.files.feeds import Feed, open_feed

TURN_S = 0.1
STOP_S = 30.0
COMPLETE_STOP_S = 12.0
"""With nothing left in hand, a stage that is still loading its model is not worth a longer wait."""
DEFAULT_DIMENSION = 384
LEFTOVER_S = 5.0
"""How long the last run's processes may take to be gone after it was killed."""


def run_pipeline(settings: RunSettings) -> int:
    """Runs all of `settings.sources` through the pipeline; the exit code, with the reason on stderr.

    0: every page is in the table or in the dead letters. 1: not, and which stage failed, why, and where its log
    is. 130: Ctrl-C.

    Raises:
        UsageError: nothing was started: no such source, no room, another run works on this data folder.
        Fatal, TryAgain: Kafka or its topics cannot be used.
    """
    feed = open_feed(settings, CIRRUS_NAMES)
    settings = _pinned(settings, feed)
    with claimed(run_claim_path(settings.data_dir), LEFTOVER_S):
        model = resolve(settings, weights=False)
        machine = this_machine()
        forecast = _estimate(settings, feed, model, machine)
        with stop_signals() as stopping, local_kafka(settings) as kafka:
            run = Run(settings, [file.key for file in feed.expected], model, machine, kafka, stopping, forecast)
            return run.run()


def _pinned(settings: RunSettings, feed: Feed) -> RunSettings:
    """The settings with the date of the snapshot that is the latest now: the producer may ask again in a week."""
    dates = {file.origin.snapshot for file in feed.expected}
    return settings.model_copy(update={"snapshot": max(dates)}) if settings.wiki else settings


@contextmanager
def local_kafka(settings: RunSettings) -> Iterator[LocalKafka | None]:
    """A Kafka of our own for a block, unless the environment names a cluster or one runs on the data folder already."""
    if KafkaSettings().bootstrap_servers or running_kafka(settings.data_dir) is not None:
        yield None
        return
    began = time.monotonic()
    with LocalKafka(settings.data_dir) as kafka:
        _say(f"Kafka at {kafka.bootstrap}, up in {time.monotonic() - began:.1f} s")
        yield kafka


def _estimate(settings: RunSettings, feed: Feed, model: ModelFiles, machine: Machine) -> estimates.Estimate | None:
    if not settings.estimate:
        return None
    if not feed.here:
        _say(f"no estimate: {len(feed.expected):,} files are downloaded first, into {settings.data_dir / 'dumps'}")
        return None
    rate, basis = expected_rate(settings.data_dir / "reports", model.tag, machine)
    forecast = estimates.forecast(feed.here, settings, model.dimension or DEFAULT_DIMENSION, rate, basis)
    _say(estimates.describe(forecast))
    estimates.check_disk(forecast, settings, local_kafka=not KafkaSettings().bootstrap_servers)
    return forecast


@dataclass
class Run:
    """One run, from its topics to its report."""

    settings: RunSettings
    keys: list[str]
    """Of the shards of the source, as `progress` has them."""
    model: ModelFiles
    machine: Machine
    kafka: LocalKafka | None
    stopping: threading.Event
    forecast: estimates.Estimate | None

    def run(self) -> int:
        """Supervises until the source is done, something cannot be, or somebody stops it."""
        started = datetime.now(UTC)
        cluster = Cluster.connect(self.settings)
        try:
            corpus = ensure_corpus(cluster, self.settings)
            topics = ensure_model(cluster, self.settings, self.model.tag)
            if self.settings.rebuild:
                set_back(cluster, corpus.pages, topics.chunk_group, {})
            reckoning = Reckoning.begin(cluster, corpus, self.settings, self.keys, started)
            supervisor, watcher = self._parts(cluster, corpus, topics)
            outcome = self._supervise(
                supervisor, watcher, lambda: table_has_all(cluster, self.settings, topics.vectors)
            )
            report = reckoning.report(outcome, self.model, supervisor, watcher)
            return self._tell(report, started)
        finally:
            cluster.close()

    def _parts(self, cluster: Cluster, corpus: CorpusTopics, topics: ModelTopics) -> tuple[Supervisor, Watcher]:
        data_dir, settings = self.settings.data_dir, self.settings
        announce_dir = data_dir.absolute() / "run" / "announce"
        shutil.rmtree(announce_dir, ignore_errors=True)  # a killed process leaves its address behind
        environment = stage_environment(settings, self.model, cluster.bootstrap, announce_dir)
        logs = data_dir / "logs"
        plans = [producer_plan(settings, environment, logs), *worker_plans(settings, self.machine, environment, logs)]
        for plan in plans:
            plan.log.unlink(missing_ok=True)
        steps = [
            Step("chunk", corpus.pages, topics.chunk_group),
            Step("embed", topics.chunks, topics.embed_group),
            Step("lance", topics.vectors, lance_group(settings, settings.table)),
        ]
        return Supervisor(plans, _spawn), Watcher(lambda: ClusterLog(Cluster.connect(settings)), steps, announce_dir)

    def _supervise(self, supervisor: Supervisor, watcher: Watcher, stored: Callable[[], bool]) -> Outcome:
        with ExitStack() as stack:
            shown = stack.enter_context(screen(self.forecast))
            patience = STOP_S
            stack.callback(lambda: self._stop(supervisor, watcher, shown, patience))
            watcher.start()
            try:
                outcome = self._until_the_end(supervisor, watcher, shown, stored)
            except CirrostreamError as error:
                return Outcome("failed", Exit.CHECK_FAILED, str(error))
            patience = COMPLETE_STOP_S if watcher.view.complete else STOP_S
            return outcome

    def _until_the_end(
        self, supervisor: Supervisor, watcher: Watcher, shown: Screen, stored: Callable[[], bool]
    ) -> Outcome:
        supervisor.on_restart = lambda replica: shown.say(f"restarting: {failure_line(replica)}")
        keeper = BrokerKeeper(self.kafka, shown.say) if self.kafka is not None else None
        weighed_at = 0.0
        while True:
            supervisor.turn()
            if keeper is not None:
                keeper.turn(time.monotonic())
            if supervisor.reading_is_over:
                watcher.reading_is_over.set()
            outcome = outcome_of(supervisor, watcher.view, stopped=self.stopping.is_set(), follow=self.settings.follow)
            if outcome is not None and (outcome.kind not in ("complete", "incomplete") or stored()):
                return outcome
            if time.monotonic() - weighed_at > 1.0:
                weighed_at = time.monotonic()
                for replica in supervisor.replicas:
                    if replica.pid is not None:
                        watcher.totals.weigh(replica.plan.stage, replica.pid)
            shown.show(supervisor.replicas, watcher)
            self.stopping.wait(TURN_S)

    def _stop(self, supervisor: Supervisor, watcher: Watcher, shown: Screen, patience_s: float) -> None:
        watcher.end()
        watcher.scrape()  # what they did since the last look
        began = time.monotonic()
        late = supervisor.stop(patience_s)
        for replica in late:
            shown.say(f"killed: {replica.plan.name} did not end within {patience_s:.0f} s (log: {replica.plan.log})")
        shown.say(f"stopped all stages in {time.monotonic() - began:.1f} s")

    def _tell(self, report: reports.Report, started: datetime) -> int:
        path = reports.write(report, self.settings.data_dir / "reports", started)
        if self.settings.json_output:
            print(msgspec.json.encode(report).decode())
        rows = "" if report.rows is None else f", {report.rows:,} rows in table {self.settings.table}"
        _say(
            f"{report.outcome} in {report.seconds:.1f} s: {report.pages_sent:,} pages sent, "
            f"{report.ledger.produced:,} of {report.ledger.read:,} documents of the source are pages{rows}, "
            f"{report.dead_letters:,} dead letters"
        )
        _say(f"report: {path}")
        if report.problem:
            _say(f"error: {report.problem}")
        elif report.outcome == "stopped":
            _say("stopped; the same command goes on where it was")
        return report.exit_code


def _spawn(plan: Plan) -> Child:
    return Child(plan.command, plan.log, plan.environment)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
