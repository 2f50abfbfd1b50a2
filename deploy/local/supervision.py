"""Keeps the processes of one command at work until it has ended: the part that `run` and `workers` share."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from deploy.local.broker_keeper import BrokerKeeper
from deploy.local.kafka import LocalKafka
from deploy.local.monitor import Monitor
from deploy.local.outcome import Outcome
from deploy.local.supervisor import Replica, Supervisor, failure_line
from deploy.local.watch import Watcher
from pipeline.announcements import withdraw
from pipeline.errors import CirrostreamError, Exit
from pipeline.status.document import Status
from pipeline.status.screen import Screen, screen
from pipeline.terminal import Console

TURN_S = 0.1
COMPLETE_STOP_S = 12.0
"""With nothing left in hand, a stage that is still loading its model is not worth a longer wait."""
LEFTOVER_S = 5.0
"""How long the last run's processes may take to be gone after it was killed."""


def fresh_announcements(data_dir: Path) -> Path:
    """The folder where the processes say how to reach them, empty: a killed one leaves its address behind."""
    folder = data_dir.absolute() / "run" / "announce"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


@dataclass(slots=True)
class Supervision:
    """The processes of a command, what watches them, and what is shown of it.

    Args:
        announce_dir: where the processes say how to reach them.
        stop_s: how long the stages may take to end when they are asked to.
        kafka: the broker to start again when it dies, if it is ours.
        monitor: Prometheus and what belongs to it; it fails alone.
    """

    supervisor: Supervisor
    watcher: Watcher
    announce_dir: Path
    stopping: threading.Event
    stop_s: float
    kafka: LocalKafka | None = None
    monitor: Monitor | None = None

    def until(self, ended: Callable[[], Outcome | None]) -> Outcome:
        """Starts everything, looks after it until `ended` gives an outcome or Kafka is lost, and stops everything."""
        with ExitStack() as stack:
            shown = stack.enter_context(screen(Console(stderr=True), keep=False))
            stack.callback(self._stop, shown)
            self.watcher.start()
            try:
                return self._look_after(shown, ended)
            except CirrostreamError as error:
                return Outcome("failed", Exit.CHECK_FAILED, str(error))

    def _look_after(self, shown: Screen, ended: Callable[[], Outcome | None]) -> Outcome:
        self.supervisor.on_restart = lambda replica: self._restarts(replica, shown)
        last: Status | None = None
        keeper = BrokerKeeper(self.kafka, shown.say) if self.kafka is not None else None
        while True:
            self.supervisor.turn()
            if self.monitor is not None:
                self.monitor.turn(self.supervisor.replicas, shown.say)
            if keeper is not None:
                keeper.turn(time.monotonic())
            outcome = ended()
            if outcome is not None:
                return outcome
            if self.watcher.status is not None and self.watcher.status is not last:
                last = self.watcher.status
                shown.show(last, self.watcher.note)
            self.stopping.wait(TURN_S)

    def _restarts(self, replica: Replica, shown: Screen) -> None:
        shown.say(f"restarting: {failure_line(replica)}")
        if replica.pid is not None:
            withdraw(self.announce_dir, replica.pid)  # or it would be shown beside its successor, as one that is gone

    def _stop(self, shown: Screen) -> None:
        patience_s = min(self.stop_s, COMPLETE_STOP_S) if self.watcher.view.done else self.stop_s
        self.watcher.ask()  # what they did since the last look; to end it first could take longer than a host has
        began = time.monotonic()
        for replica in self.supervisor.stop(patience_s):
            shown.say(f"killed: {replica.plan.name} did not end within {patience_s:.0f} s (log: {replica.plan.log})")
        shown.say(f"stopped all stages in {time.monotonic() - began:.1f} s")
        self.watcher.end()
        if self.monitor is not None:
            self.monitor.stop()
