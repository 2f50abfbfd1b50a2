"""Looks at Kafka from a thread of its own: a broker that hangs never keeps the view of the replicas waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.errors import CirrostreamError, Fatal, TryAgain, one_line
from pipeline.kafka import Cluster
from pipeline.kafka_errors import translated
from pipeline.lag.backlog import ClusterProbe, Step
from pipeline.lag.observer import READ_SECONDS, Observer
from pipeline.lag.rates import Pace, Rate
from pipeline.lag.view import GroupLag
from pipeline.offsets import topic_logs
from pipeline.status.completion import Completion

LOOK_S = 1.0
END_LOOK_S = 0.3
"""Between looks once all has been read: a run that is done is not kept waiting."""


@dataclass(frozen=True, slots=True)
class KafkaView:
    """The last view; empty before the first look."""

    groups: tuple[GroupLag, ...] = ()
    """Without those whose topic is not there."""
    pages: int = 0
    """Records that ever went into `pages`."""
    pages_minute: Pace | None = None
    pages_five: Pace | None = None
    dead_letters: int | None = None
    missing: tuple[str, ...] = ()
    """Topics that are not there (yet)."""
    done: bool = False
    """All is done, by the rule that was given."""
    looked_at: float | None = None
    """On the monotonic clock."""
    trouble: CirrostreamError | None = None
    """Why the last look failed; what is here is then older."""

    @property
    def fatal(self) -> CirrostreamError | None:
        """The error that ends a run: no topic, or one that another try does not mend."""
        if self.missing:
            return Fatal(f"topic {', '.join(self.missing)}: there is no such topic")
        return None if isinstance(self.trouble, TryAgain) else self.trouble


class KafkaWatcher(threading.Thread):
    """`view` is the newest answer.

    Args:
        cluster: connected; this thread's alone from now on, and closed by it.
        steps: the stages' topics and groups, in order.
        letters: the topic of the dead letters.
        completion: the rule by which the work counts as done; None: it never does, see `await_end`.
        read_seconds: what a look may spend on the ages of records; 0: nothing is read, and no age is known.
    """

    def __init__(
        self,
        cluster: Cluster,
        steps: Sequence[Step],
        letters: str,
        completion: Completion | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        super().__init__(name="kafka-watcher", daemon=True)
        self.view = KafkaView()
        self.steps = steps
        self._cluster = cluster
        self._log = ClusterProbe(cluster)
        self._observer = Observer(cluster)
        self._letters = letters
        self._read_seconds = read_seconds
        self._pages = Rate(), Rate(300)
        self._completion = completion
        self._look_s = LOOK_S
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            try:
                with translated("looking at Kafka"):
                    self.view = self._look()
            except CirrostreamError as error:
                self.view = replace(self.view, trouble=error, done=False)
            except Exception as error:  # noqa: BLE001 - a thread that is dead in silence would keep a run for ever
                bug = Fatal(f"looking at Kafka: {one_line(error)} (a bug; please report it)")
                self.view = replace(self.view, trouble=bug, done=False)
            self._ended.wait(max(0.1, began + self._look_s - time.monotonic()))
        self._observer.close()
        self._cluster.close()

    def await_end(self) -> None:
        """Takes the first topic's end for the last: nothing of ours goes into it any more."""
        if self._completion is None:
            self._completion, self._look_s = Completion(self.steps), END_LOOK_S

    def end(self) -> None:
        """Stops looking; returns when the thread is done, or after 5 s."""
        self._ended.set()
        self.join(5)

    def _look(self) -> KafkaView:
        completion = self._completion  # before the look: its ends must be from after the last record was sent
        seen = self._observer.look(self.steps, self._read_seconds)
        letters = topic_logs(self._cluster, [self._letters]).get(self._letters)
        now = time.monotonic()
        first = seen.topics.get(self.steps[0].topic)
        pages = sum(first.ends.values()) if first is not None else 0
        for rate in self._pages:
            rate.take(pages, now)
        missing = tuple(step.topic for step in self.steps if step not in seen.backlogs)
        return KafkaView(
            groups=tuple(group for group in seen.groups if group.step in seen.backlogs),
            pages=pages,
            pages_minute=Pace.of(self._pages[0]),
            pages_five=Pace.of(self._pages[1]),
            dead_letters=sum(letters.ends.values()) - sum(letters.starts.values()) if letters is not None else None,
            missing=missing,
            done=not missing and completion is not None and completion.turn(self._log, seen.backlogs, now),
            looked_at=now,
        )
