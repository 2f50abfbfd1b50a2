"""Workers alone, for a Kafka that is elsewhere: what a rented GPU host runs."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import dataclass

from deploy.local.claim import claimed
from deploy.local.monitor import monitor_of
from deploy.local.outcome import Outcome, outcome_of
from deploy.local.run_settings import WorkersSettings
from deploy.local.signals import stop_signals
from deploy.local.stages import Machine, embedder_count, stage_environment, supervisor_of, this_machine, worker_plans
from deploy.local.supervision import LEFTOVER_S, Supervision, fresh_announcements
from deploy.local.supervisor import Replica, failure_line
from deploy.local.tidy import run_claim_path
from deploy.local.watch import watcher_of
from pipeline.errors import Exit, UsageError
from pipeline.kafka import Cluster
from pipeline.lag.backlog import worker_steps
from pipeline.model_files import ModelFiles, resolve
from pipeline.status.completion import Completion
from pipeline.terminal import say_aside
from pipeline.topics import ensure_corpus, ensure_model

STOP_S = 10.0
"""A spot host is gone 15 s after it was told; a batch that is dropped then is done again by another."""


def run_workers(settings: WorkersSettings) -> int:
    """Runs chunkers and embedders until they are stopped (0), drained (0, when asked for), or one is given up.

    Else the code of the replica that was given up, where it tells an outer supervisor what to do (2, 70, 75), or 1.

    Raises:
        UsageError: nothing to start, no Kafka named, or the data folder is in use.
        Fatal, TryAgain: Kafka or its topics cannot be used.
    """
    machine = this_machine()
    if not settings.chunkers and not embedder_count(settings, machine):
        raise UsageError("nothing to start: give --embedders auto or a number, or --chunkers")
    with claimed(run_claim_path(settings.data_dir), LEFTOVER_S), stop_signals() as stopping:
        model = resolve(settings, weights=False)
        with closing(Cluster.connect(settings)) as cluster:
            ensure_corpus(cluster, settings)
            ensure_model(cluster, settings, model.tag)
            say_aside(f"{_described(settings, machine)}, on the Kafka at {cluster.bootstrap}; Ctrl-C ends it")
            bootstrap = cluster.bootstrap
        return Workers(settings, model, machine, bootstrap, stopping).run()


def _described(settings: WorkersSettings, machine: Machine) -> str:
    gpus = len(machine.gpus)
    place = f"{gpus} GPU{'s' if gpus > 1 else ''}" if gpus else "no GPU found: on the CPU"
    return f"chunkers: {settings.chunkers}; embedders: {embedder_count(settings, machine)} ({place})"


@dataclass
class Workers:
    """One run of them."""

    settings: WorkersSettings
    model: ModelFiles
    machine: Machine
    bootstrap: str
    stopping: threading.Event

    def run(self) -> int:
        """Supervises until the end; the exit code, with the reason on stderr."""
        work = self._supervision()
        outcome = work.until(lambda: self._ended(work))
        if outcome.problem:
            say_aside(f"error: {outcome.problem}")
        elif outcome.kind == "complete":
            say_aside(f"drained: nothing to do for {self.settings.drained_seconds:g} s")
        return outcome.exit_code

    def _supervision(self) -> Supervision:
        settings, model = self.settings, self.model
        announce_dir = fresh_announcements(settings.data_dir)
        environment = stage_environment(settings, model, self.bootstrap, announce_dir)
        steps = worker_steps(settings, model.tag)
        drained = Completion(steps, idle_s=settings.drained_seconds) if settings.until_drained else None
        supervisor = supervisor_of(worker_plans(settings, self.machine, environment, settings.data_dir / "logs"))
        watcher = watcher_of(settings, model.tag, supervisor, announce_dir, steps=steps, completion=drained)
        monitor = monitor_of(settings, environment, say_aside)
        return Supervision(supervisor, watcher, announce_dir, self.stopping, STOP_S, monitor=monitor)

    def _ended(self, work: Supervision) -> Outcome | None:
        outcome = outcome_of(work.supervisor, work.watcher.view, stopped=False, follow=not self.settings.until_drained)
        failed = work.supervisor.failed
        if outcome is not None and failed is not None:
            return _given_up(failed)
        return outcome or (Outcome("stopped", Exit.DONE) if self.stopping.is_set() else None)


def _given_up(replica: Replica) -> Outcome:
    code = replica.last_code if replica.last_code in (Exit.USAGE, Exit.FATAL, Exit.TRY_AGAIN) else Exit.CHECK_FAILED
    return Outcome("failed", code or Exit.CHECK_FAILED, failure_line(replica))
