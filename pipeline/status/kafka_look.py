"""Looks at Kafka from a thread of its own: a broker that hangs never keeps the view of the replicas waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.errors import CirrostreamError
from pipeline.kafka import Cluster
from pipeline.lag.backlog import Backlog, ClusterLog, Step
from pipeline.lag.observer import Observer
from pipeline.lag.rates import Pace, Rate
from pipeline.lag.view import GroupLag, LagView
from pipeline.offsets import topic_logs
from pipeline.status.completion import Completion

LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class GroupView:
    """A reading stage at one moment."""

    lag: GroupLag
    """Its `pace` is that of the last 5 minutes."""
    done: int
    """Records behind the group, from the log's first on."""
    minute: Pace | None


@dataclass(frozen=True, slots=True)
class KafkaView:
    """What was seen last; empty before the first look."""

    groups: tuple[GroupView, ...] = ()
    """Without those whose topic is not there."""
    pages: int = 0
    """Records that ever went into `pages`."""
    pages_minute: Pace | None = None
    pages_five: Pace | None = None
    dead_letters: int | None = None
    missing: tuple[str, ...] = ()
    """Topics that are not there (yet)."""
    done: bool = False
    """All groups are at their topics' ends, and nothing came for a while."""
    looked_at: float | None = None
    """On the monotonic clock."""
    trouble: CirrostreamError | None = None
    """Why the last look failed; what is here is then older."""


class KafkaLook(threading.Thread):
    """`view` is the newest answer.

    Args:
        cluster: connected; this thread's alone from now on, and closed by it.
        steps: the stages' topics and groups, in order.
        letters: the topic of the dead letters.
        quiet_s: how long nothing must come before the work counts as done.
    """

    def __init__(self, cluster: Cluster, steps: Sequence[Step], letters: str, quiet_s: float) -> None:
        super().__init__(name="kafka-look", daemon=True)
        self.view = KafkaView()
        self._cluster = cluster
        self._log = ClusterLog(cluster)
        self._observer = Observer(cluster)
        self._steps = steps
        self._letters = letters
        self._minutes = {step: Rate() for step in steps}
        self._pages = Rate(), Rate(300)
        self._completion = Completion(steps, quiet_s)
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            try:
                self.view = self._look()
            except CirrostreamError as error:
                self.view = replace(self.view, trouble=error, done=False)
            self._ended.wait(max(0.1, began + LOOK_S - time.monotonic()))
        self._observer.close()
        self._cluster.close()

    def end(self) -> None:
        """Stops looking; returns when the thread is done, or after 5 s."""
        self._ended.set()
        self.join(5)

    def _look(self) -> KafkaView:
        seen = self._observer.look(self._steps)
        letters = topic_logs(self._cluster, [self._letters]).get(self._letters)
        now = time.monotonic()
        backlogs = [backlog for group in seen.groups if (backlog := _backlog(group, seen)) is not None]
        missing = tuple(step.topic for step in self._steps if seen.topics.get(step.topic) is None)
        pages = sum(backlogs[0].ends.values()) if backlogs and backlogs[0].step == self._steps[0] else 0
        for rate in self._pages:
            rate.take(pages, now)
        return KafkaView(
            groups=tuple(self._group(seen, backlog, now) for backlog in backlogs),
            pages=pages,
            pages_minute=Pace.of(self._pages[0]),
            pages_five=Pace.of(self._pages[1]),
            dead_letters=sum(letters.ends.values()) - sum(letters.starts.values()) if letters is not None else None,
            missing=missing,
            done=not missing and self._completion.turn(self._log, backlogs, now),
            looked_at=now,
        )

    def _group(self, seen: LagView, backlog: Backlog, now: float) -> GroupView:
        minute = self._minutes[backlog.step]
        minute.take(backlog.done, now)
        lag = next(group for group in seen.groups if group.step == backlog.step)
        return GroupView(lag, backlog.done, Pace.of(minute))


def _backlog(group: GroupLag, seen: LagView) -> Backlog | None:
    """The same as the completion rule has it; None where there is no topic."""
    log = seen.topics.get(group.step.topic)
    if log is None:
        return None
    committed = {p.partition: p.committed for p in group.partitions if p.committed is not None}
    return Backlog(group.step, committed, log.starts, log.ends, log.topic_id)
