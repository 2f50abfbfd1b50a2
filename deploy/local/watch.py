"""Watches a run from a thread of its own, so that processes that do not answer never keep the supervisor waiting."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from deploy.local.supervisor import Supervisor
from pipeline.announcements import announced
from pipeline.errors import Fatal, one_line
from pipeline.kafka import Cluster
from pipeline.lag.backlog import Step
from pipeline.settings import ModelSettings
from pipeline.status.collector import Pipeline, StatusCollector
from pipeline.status.completion import Completion
from pipeline.status.document import Status
from pipeline.status.kafka_watcher import KafkaView, KafkaWatcher
from pipeline.status.readings import Reading
from pipeline.status.targets import Target
from pipeline.status.whole import Source
from pipeline.topics import corpus_topics

LOOK_S = 1.0
END_S = 3.0
STUCK_S = 60.0
UNKNOWN = Source()


@dataclass(slots=True)
class Supervised:
    """A supervisor's replicas, under the names of their logs; those that are not up yet, too."""

    supervisor: Supervisor
    announce_dir: Path
    left_out: int = 0

    def find(self) -> list[Target]:
        addresses = {process.pid: process.address for process in announced(self.announce_dir)}
        found = []
        for replica in self.supervisor.replicas:
            if replica.state in ("running", "waiting"):
                address = addresses.get(replica.pid or 0, "")
                begins = "" if address else "starting" if replica.state == "running" else "waiting to start"
                again = f"restarted {replica.restarts}×" if replica.restarts else ""
                note = ", ".join(filter(None, (begins, again)))
                found.append(Target(replica.plan.name, address, replica.plan.stage, note=note))
        return found


class Watcher(threading.Thread):
    """Takes a look every second; `status` is the newest one.

    Args:
        look: what to take, of this supervisor's replicas and of `kafka`.
        kafka: a thread as well, which begins and ends with this one.
    """

    def __init__(self, look: StatusCollector, kafka: KafkaWatcher, supervisor: Supervisor) -> None:
        super().__init__(name="watcher", daemon=True)
        self.peaks: dict[str, int] = {}
        """Resident bytes of each stage's largest process, as sampled."""
        self.status: Status | None = None
        self.note = ""
        """The event that the run waits for, for the screen; set by whoever runs it."""
        self._look = look
        self._kafka = kafka
        self._supervisor = supervisor
        self._bug: Fatal | None = None
        self._ended = threading.Event()

    @property
    def view(self) -> KafkaView:
        """The last view of Kafka, or the reason why there is none any more."""
        return self._kafka.view if self._bug is None else replace(self._kafka.view, trouble=self._bug)

    def start(self) -> None:
        self._kafka.start()
        super().start()

    def run(self) -> None:
        try:
            while not self._ended.is_set():
                self.status = self._look.take()
                self._weigh()
                self._ended.wait(LOOK_S)
        except Exception as error:  # noqa: BLE001 - a watcher that is dead in silence would keep the run for ever
            self._bug = Fatal(f"watching the run: {one_line(error)} (a bug; please report it)")

    def _weigh(self) -> None:
        for replica in self._supervisor.replicas:
            pid = replica.pid  # the supervisor may take it away between two looks, and psutil takes None for ourselves
            if pid is None:
                continue
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                weights = [each.memory_info().rss for each in (process, *process.children(recursive=True))]
                self.peaks[replica.plan.stage] = max(self.peaks.get(replica.plan.stage, 0), *weights)

    def total(self, stage: str) -> Reading:
        """All that the stage's processes have counted."""
        return self._look.total(stage)

    def reading_is_over(self) -> None:
        """Takes an end for the end: all producers have come to theirs."""
        self._look.await_end()

    def ask(self) -> None:
        """Reads every process' counters once more."""
        self._look.ask()

    def end(self) -> None:
        """Stops looking; returns when the threads are done, or after 8 s."""
        self._ended.set()
        self.join(END_S)
        self._kafka.end()


def watcher_of(
    settings: ModelSettings,
    model: str,
    supervisor: Supervisor,
    announce_dir: Path,
    *,
    steps: Sequence[Step],
    completion: Completion | None = None,
    source: Source = UNKNOWN,
) -> Watcher:
    """The watcher of these steps, with a connection to Kafka of its own.

    Args:
        model: the model's tag.
        completion: when there is nothing left to do; None: when the ends are reached after `reading_is_over`.
    """
    cluster = Cluster.connect(settings)
    kafka = KafkaWatcher(cluster, steps, corpus_topics(settings).dead_letters, completion, read_seconds=0)
    pipeline = Pipeline(cluster.bootstrap, settings.namespace, model, ())
    look = StatusCollector(pipeline, kafka, Supervised(supervisor, announce_dir), STUCK_S, source=source)
    return Watcher(look, kafka, supervisor)
