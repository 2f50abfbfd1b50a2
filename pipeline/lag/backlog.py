"""The stages as readers: the topic and the group of each, how far it is, and what it still has to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import Forbidden
from pipeline.kafka import Cluster
from pipeline.lag.first_records import NONE_LEFT, FirstRecords, OffsetRange
from pipeline.offsets import TopicLog, committed_offsets, of_topic, topic_logs
from pipeline.settings import Settings, TableSettings
from pipeline.topics import corpus_topics, lance_group, model_topics

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
    log: TopicLog
    finished: frozenset[int] = frozenset()
    """Partitions where reading has shown that none of the offsets from the position on has a record."""

    @property
    def position(self) -> Mapping[int, int]:
        """The offset at which the group goes on: its commit; else, or where that was trimmed, the log's start."""
        return {p: max(self.committed.get(p, 0), start) for p, start in self.log.starts.items()}

    @property
    def lags(self) -> Mapping[int, int]:
        """Records still to do, by partition; in a compacted topic an upper bound, as some offsets have none.

        Never negative: a commit beyond the end, of a topic that was made anew, leaves nothing to do.
        """
        return {p: 0 if p in self.finished else max(0, self.log.ends[p] - at) for p, at in self.position.items()}

    @property
    def lag(self) -> int:
        """Records still to do, in all partitions."""
        return sum(self.lags.values())

    @property
    def done(self) -> int:
        """Offsets that are behind the group, from the log's first on."""
        return sum(self.position.values())


def worker_steps(settings: Settings, tag: str) -> list[Step]:
    """The two steps from `pages` to vectors, for the model that has this tag."""
    topics = model_topics(settings, tag)
    return [
        Step("chunk", corpus_topics(settings).pages, topics.chunk_group),
        Step("embed", topics.chunks, topics.embed_group),
    ]


def model_steps(settings: TableSettings, tag: str) -> list[Step]:
    """The three steps from `pages` into a table, for the model that has this tag."""
    vectors = model_topics(settings, tag).vectors
    return [*worker_steps(settings, tag), Step("lance", vectors, lance_group(settings, settings.table))]


class ClusterProbe:
    """Asks a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def backlogs(self, steps: Sequence[Step]) -> dict[Step, Backlog]:
        """The standing of all steps, but of those whose topic does not exist.

        Committed is fetched first: the other way round a busy group would have a negative lag.
        """
        committed = committed_offsets(self._cluster, sorted({step.group for step in steps}))
        logs = topic_logs(self._cluster, {step.topic for step in steps})
        return {
            step: Backlog(step, of_topic(committed[step.group], step.topic), logs[step.topic])
            for step in steps
            if step.topic in logs
        }

    def has_records(self, topic: str, start: Mapping[int, int], ends: Mapping[int, int]) -> bool:
        """True when a reader that starts at `start` is given anything before `ends`; also when that cannot be known.

        A host of workers elsewhere may see where `pages` ends, and not read it: its chunkers may only be slow.
        """
        ranges = [OffsetRange(topic, p, start[p], ends[p]) for p in start if start[p] < ends[p]]
        records = FirstRecords(self._cluster)
        try:
            found = records.look(ranges, PROBE_S)
        except Forbidden:
            return True
        finally:
            records.close()
        return any(found.get(offsets) != NONE_LEFT for offsets in ranges)
