"""Finds every pipeline on a cluster: all models that have topics in our namespace, and the groups on them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from kafka import TopicPartition

from pipeline.kafka import Cluster
from pipeline.lag.backlog import Step, model_steps
from pipeline.offsets import committed_offsets, groups_with_offsets
from pipeline.settings import TableSettings
from pipeline.topics import lance_group, model_topics

MOST_GROUPS = 64
"""Far more than anybody runs side by side; each has a series for every partition in Prometheus."""
EVERY_S = 30.0


@dataclass(slots=True)
class Discovery:
    """Asks what there is every 30 s: it means the names of all topics and all groups of the cluster."""

    cluster: Cluster
    settings: TableSettings
    _steps: Sequence[Step] = ()
    _asked_at: float = field(default=float("-inf"))

    def steps(self) -> Sequence[Step]:
        """Every step of every model."""
        if time.monotonic() - self._asked_at >= EVERY_S:
            self._steps = self._ask()
            self._asked_at = time.monotonic()
        return self._steps

    def _ask(self) -> Sequence[Step]:
        topics = set(self.cluster.call(self.cluster.admin.list_topics))
        groups = groups_with_offsets(self.cluster)
        tables = sorted(group for group in groups if group.startswith(lance_group(self.settings, "")))[:MOST_GROUPS]
        steps = steps_of_all(self.settings, topics, committed_offsets(self.cluster, tables))
        if len(steps) > MOST_GROUPS:
            structlog.get_logger().warning(f"{len(steps)} groups found, only the first {MOST_GROUPS} are shown")
        return steps[:MOST_GROUPS]


def steps_of_all(
    settings: TableSettings, topics: Iterable[str], tables: Mapping[str, Mapping[TopicPartition, int]]
) -> list[Step]:
    """The steps of every model that has a `chunks` topic.

    Args:
        topics: all names of topics.
        tables: what the groups of tables have committed. A table's group says nothing of its model but by this.

    Topic and group of a model are there as soon as its chunker is, so its group counts even if it never committed. A
    table that has not committed anything yet is known only by our settings: its group is shown for a model that
    no table reads, unless it reads another.
    """
    names = set(topics)
    first = model_topics(settings, "").chunks
    ours = lance_group(settings, settings.table)
    busy = {tp.topic for tp in tables.get(ours, {})}
    steps = []
    for tag in sorted(name.removeprefix(first) for name in names if name.startswith(first)):
        chunk, embed, lance = model_steps(settings, tag)
        readers = [group for group, offsets in tables.items() if any(tp.topic == lance.topic for tp in offsets)]
        steps += [chunk, embed, *(Step("lance", lance.topic, group) for group in sorted(readers))]
        if not readers and not busy & names:
            steps.append(lance)
    return steps
