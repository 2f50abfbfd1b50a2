"""Trims `chunks` and `vectors` behind their readers, for those topics have no expiry.

A time-out would delete what nobody has read yet. So the sink deletes what every group has committed and, of `vectors`,
what the table holds. Not during a replay: a group set back wants to read again what would be deleted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import structlog
from kafka.errors import KafkaError

from pipeline.errors import TryAgain
from pipeline.kafka import Cluster
from pipeline.metrics import Metrics

TRIM_SECONDS = 30.0

Offsets = Mapping[int, int]


def trim_limits(
    committed: Mapping[str, Offsets],
    highest: Mapping[str, Offsets],
    required: str,
    fence: Offsets | None = None,
) -> dict[int, int]:
    """Offset of each partition below which records may go. Pure.

    A partition is left alone while the group `required` has no commit there, while the groups that have one are not
    those of earlier rounds, and while any stands below the highest commit it ever had: a replay runs. The limit is what
    all had committed a round ago, so that a group which an operator is setting back just now still finds its records.

    Args:
        committed: group -> partition -> committed offset, now.
        highest: the same, as the highest seen in earlier rounds.
        fence: next offsets of the table, for the topic that feeds it.
    """
    limits: dict[int, int] = {}
    for partition in {p for offsets in committed.values() for p in offsets}:
        now = {group: offsets[partition] for group, offsets in committed.items() if partition in offsets}
        before = {group: offsets[partition] for group, offsets in highest.items() if partition in offsets}
        if required not in now or set(now) != set(before) or any(now[group] < before[group] for group in now):
            continue
        limits[partition] = min([*before.values(), *([] if fence is None else [fence.get(partition, 0)])])
    return limits


class Trimmer:
    """Trims one topic every half minute."""

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        required: str,
        metrics: Metrics,
        *,
        fence: Callable[[], Offsets] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._topic = topic
        self._required = required
        self._metrics = metrics
        self._fence = fence
        self._clock = clock
        self._next = clock() + TRIM_SECONDS
        self._highest: dict[str, dict[int, int]] = {}
        self._trimmed: dict[int, int] = {}

    def turn(self) -> None:
        """Trims, when it is time. A Kafka that does not answer means later."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + TRIM_SECONDS
        try:
            with self._metrics.timed("trim"):
                self.trim()
        except (TryAgain, KafkaError) as error:
            self._metrics.retry("trim")
            structlog.get_logger().warning("trim.later", topic=self._topic, error=str(error))

    def trim(self) -> dict[int, int]:
        """One round; says what it trimmed to, where that is further than before."""
        committed = all_committed(self._cluster, self._topic)
        fence = None if self._fence is None else self._fence()
        limits = trim_limits(committed, self._highest, self._required, fence)
        further = {p: limit for p, limit in limits.items() if limit > self._trimmed.get(p, 0)}
        self._cluster.trim(self._topic, further)
        self._trimmed.update(further)
        for group, offsets in committed.items():
            seen = self._highest.setdefault(group, {})
            seen.update({p: max(offset, seen.get(p, 0)) for p, offset in offsets.items()})
        return further


def all_committed(cluster: Cluster, topic: str) -> dict[str, dict[int, int]]:
    """Committed offsets of every group that has any on this topic."""
    found = {group: cluster.committed(group, topic) for group in groups(cluster)}
    return {group: offsets for group, offsets in found.items() if offsets}


def groups(cluster: Cluster) -> list[str]:
    """All groups of the cluster."""
    return [group["group_id"] for group in cluster.admin.list_groups()]
