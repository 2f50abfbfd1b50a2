"""Where the stages stand in Kafka, and when nothing is left to do.

Each stage commits an offset only when what it made of the record is safe in the next topic, so the stages are
done in their order: `pages` by the chunk group, then `chunks` by the embed group, then `vectors` by the
table's. A later topic's ends are taken only when the stage before it is done; before that, they would still
grow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.errors import Fatal
from pipeline.kafka import Cluster
from pipeline.lag.first_records import NONE_LEFT, FirstRecords, Stretch
from pipeline.offsets import committed_offsets, of_topic, topic_logs
from pipeline.settings import TableSettings
from pipeline.topics import corpus_topics, lance_group, model_topics

STANDSTILL_S = 3.0
PROBE_S = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """A stage as a reader: the topic it reads, and the group it commits in."""

    stage: str
    topic: str
    group: str


@dataclass(frozen=True, slots=True)
class Backlog:
    """One step at one moment: offsets by partition."""

    step: Step
    committed: Mapping[int, int]
    starts: Mapping[int, int]
    ends: Mapping[int, int]
    topic_id: str = ""
    finished: frozenset[int] = frozenset()
    """Partitions where reading has shown that none of the offsets from the position on has a record."""
    leaderless: bool = False
    """Some partition has no leader now: what is in it is not known, and not counted."""

    @property
    def position(self) -> Mapping[int, int]:
        """Where the group goes on: at its commit, or without one, or with one that was trimmed, at the log's start."""
        return {p: max(self.committed.get(p, 0), start) for p, start in self.starts.items()}

    @property
    def lags(self) -> Mapping[int, int]:
        """Records still to do, by partition; in a compacted topic an upper bound, as some offsets have none.

        Never negative: a commit beyond the end, of a topic that was made anew, leaves nothing to do.
        """
        return {p: 0 if p in self.finished else max(0, self.ends[p] - at) for p, at in self.position.items()}

    @property
    def lag(self) -> int:
        """Records still to do, in all partitions."""
        return sum(self.lags.values())

    @property
    def done(self) -> int:
        """Offsets that are behind the group, from the log's first on."""
        return sum(self.position.values())


def model_steps(settings: TableSettings, tag: str) -> list[Step]:
    """The three steps from `pages` into a table, for the model that has this tag."""
    topics = model_topics(settings, tag)
    return [
        Step("chunk", corpus_topics(settings).pages, topics.chunk_group),
        Step("embed", topics.chunks, topics.embed_group),
        Step("lance", topics.vectors, lance_group(settings, settings.table)),
    ]


class Log(Protocol):
    """What the completion rule asks of Kafka; a fake answers it in tests."""

    def backlog(self, step: Step) -> Backlog: ...

    def has_records(self, topic: str, start: Mapping[int, int], ends: Mapping[int, int]) -> bool: ...


class ClusterLog:
    """Asks a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def close(self) -> None:
        """Ends the connection, which would go on looking for a Kafka that has been stopped, and say so."""
        self._cluster.close()

    def backlog(self, step: Step) -> Backlog:
        """Where one step stands. Raises Fatal when its topic does not exist."""
        found = self.backlogs([step])
        if step not in found:
            raise Fatal(f"topic {step.topic}: there is no such topic")
        return found[step]

    def backlogs(self, steps: Sequence[Step]) -> dict[Step, Backlog]:
        """Where all steps stand, but those whose topic does not exist.

        Committed is fetched first: the other way round a busy group would have a negative lag.
        """
        committed = committed_offsets(self._cluster, sorted({step.group for step in steps}))
        logs = topic_logs(self._cluster, {step.topic for step in steps})
        return {
            step: Backlog(
                step,
                of_topic(committed[step.group], step.topic),
                logs[step.topic].starts,
                logs[step.topic].ends,
                logs[step.topic].topic_id,
                leaderless=logs[step.topic].leaderless,
            )
            for step in steps
            if step.topic in logs
        }

    def has_records(self, topic: str, start: Mapping[int, int], ends: Mapping[int, int]) -> bool:
        """Whether a reader that starts at `start` is given anything before `ends`; also when that cannot be known."""
        stretches = [Stretch(topic, p, start[p], ends[p]) for p in start if start[p] < ends[p]]
        records = FirstRecords(self._cluster)
        try:
            found = records.look(stretches, PROBE_S)
        finally:
            records.close()
        return any(found.get(stretch) != NONE_LEFT for stretch in stretches)


@dataclass(slots=True)
class Drain:
    """Follows the steps to their ends; `turn` is to be called from when on nothing more goes into the first topic.

    Trap: `pages` is compacted. Its last offsets may have no record any more (a record was replaced and cleaned
    away, a transaction marker stands there), and a group that commits what it was given stays below the end for
    good. So when a group stands still below its end, the offsets between are read: if no record comes, there is
    none left to do.
    """

    steps: list[Step]
    ends: dict[str, Mapping[int, int]] = field(default_factory=dict)
    _reached: int = 0
    _seen: tuple[int, int, float] | None = None
    """Step, position and since when it has been that."""

    @property
    def complete(self) -> bool:
        return self._reached == len(self.steps)

    def turn(self, log: Log, now: float) -> bool:
        """Goes as far as it can; whether all steps have reached their ends."""
        while not self.complete:
            step = self.steps[self._reached]
            backlog = log.backlog(step)
            if backlog.leaderless:
                return False
            ends = self.ends.setdefault(step.stage, dict(backlog.ends))
            if not self._behind(log, Backlog(step, backlog.committed, backlog.starts, ends), now):
                self._reached += 1
                continue
            return False
        return True

    def _behind(self, log: Log, backlog: Backlog, now: float) -> bool:
        if not backlog.lag:
            return False
        if self._seen is None or self._seen[:2] != (self._reached, backlog.done):
            self._seen = (self._reached, backlog.done, now)
            return True
        if now - self._seen[2] < STANDSTILL_S:
            return True
        self._seen = (self._reached, backlog.done, now)
        return log.has_records(backlog.step.topic, backlog.position, backlog.ends)
