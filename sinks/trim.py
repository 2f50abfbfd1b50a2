"""Trims `chunks` and `vectors` behind their readers, for those topics have no expiry.

A time-out would delete what nobody has read yet. So the sink deletes what every group has committed and, of `vectors`,
what the table holds (`sinks.trim_plan`). Whatever keeps records from being deleted is said: once in the log, and in
`cirrostream_trim_kept_records` and `cirrostream_trim_allowed`, for Kafka's disks fill meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import structlog
from kafka.errors import KafkaError

from pipeline.errors import CirrostreamError, Forbidden
from pipeline.kafka import Cluster
from pipeline.metrics import Metrics
from pipeline.offsets import committed_offsets, groups_with_offsets, of_topic
from pipeline.topics import topic_ids
from sinks.trim_plan import GONE_SECONDS, Offsets, Plan, Reader, plan

TRIM_SECONDS = 30.0
FORBIDDEN_SECONDS = 600.0
"""How long a sink that may not trim waits before it looks whether it may now."""
STANDS_SECONDS = 3600.0
"""A group that keeps records and has not moved for so long is named in the log."""

REMOVE = "start what reads there, or remove the group: python -m kafka.admin -b … groups delete -g"


class Trimmer:
    """Trims one topic every half minute.

    Args:
        required: the group without whose commit nothing goes.
        bound: next offsets that no trim may pass, such as the table's fence.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        required: str,
        metrics: Metrics,
        *,
        bound: Callable[[], Offsets] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._topic = topic
        self._required = required
        self._metrics = metrics
        self._bound = bound
        self._clock = clock
        self._log = structlog.get_logger().bind(topic=topic)
        self._next = clock() + TRIM_SECONDS
        self._topic_id = ""
        self._readers: dict[str, Reader] = {}
        self._trimmed: dict[int, int] = {}
        self._noted: set[tuple[str, str]] = set()

    def turn(self) -> None:
        """Trims, when it is time. Whatever Kafka answers, the sink goes on: trimming saves disk, and nothing else."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + TRIM_SECONDS
        try:
            with self._metrics.timed("trim"):
                self.trim()
        except Forbidden as error:
            self._next = self._clock() + FORBIDDEN_SECONDS
            self._metrics.trim_allowed[self._topic].set(0)
            self._note("trim.forbidden", "", f"the sink goes on without trimming, and Kafka's disks will fill: {error}")
        except (CirrostreamError, KafkaError) as error:
            self._metrics.retry("trim")
            self._log.warning("trim.later", error=str(error))
        else:
            self._metrics.trim_allowed[self._topic].set(1)
            self._noted.discard(("trim.forbidden", ""))

    def trim(self) -> dict[int, int]:
        """One round; says what it trimmed to, where that is further than before.

        Raises:
            Forbidden: this user may not delete records, or may not see every group that reads them.
        """
        check_sight(self._cluster)
        self._forget_if_made_anew()
        committed = all_committed(self._cluster, self._topic)
        round_ = plan(committed, self._readers, self._required, None if self._bound is None else self._bound())
        self._remember(committed)
        self._tell(round_)
        further = {p: limit for p, limit in round_.limits.items() if limit > self._trimmed.get(p, 0)}
        self._cluster.trim(self._topic, further)
        self._trimmed.update(further)
        return further

    def _forget_if_made_anew(self) -> None:
        """A topic that was deleted and made again counts its offsets from 0: what was seen before says nothing."""
        now = topic_ids(self._cluster, [self._topic])[self._topic]
        if now != self._topic_id:
            self._topic_id = now
            self._readers.clear()
            self._trimmed.clear()

    def _remember(self, committed: Mapping[str, Offsets]) -> None:
        for group in committed.keys() | self._readers.keys():
            reader = self._readers.setdefault(group, Reader())
            if reader.saw(committed.get(group, {}), self._clock()):
                self._log.warning("trim.group_forgotten", group=group, meaning="its records are no longer kept")
            if reader.gone_since:
                self._note("trim.group_gone", group, self._meaning_of_gone(group))
            else:
                self._noted.discard(("trim.group_gone", group))

    def _meaning_of_gone(self, group: str) -> str:
        if group == self._required:
            return "it has lost its place; nothing is trimmed until it commits again"
        return f"it has lost its place; its records are kept for {GONE_SECONDS / 3600:g} h, then it is no reader"

    def _tell(self, round_: Plan) -> None:
        """Says which groups keep how much, and names those that do not move."""
        for group, reader in self._readers.items():
            records = round_.kept.get(group, 0)
            self._metrics.trim_kept[group].set(records)
            if records and reader.latest and self._clock() - reader.moved_at >= STANDS_SECONDS:
                self._note("trim.group_stands", group, f"{records} records are kept for it alone; {REMOVE} {group}")
            else:
                self._noted.discard(("trim.group_stands", group))

    def _note(self, event: str, group: str, meaning: str) -> None:
        """Logs it once, until it is over."""
        if (event, group) not in self._noted:
            self._noted.add((event, group))
            self._log.warning(event, **({"group": group} if group else {}), meaning=meaning)


def all_committed(cluster: Cluster, topic: str) -> dict[str, dict[int, int]]:
    """Committed offsets of every group that has any on this topic."""
    found = {
        group: of_topic(offsets, topic)
        for group, offsets in committed_offsets(cluster, groups_with_offsets(cluster)).items()
    }
    return {group: offsets for group, offsets in found.items() if offsets}


def check_sight(cluster: Cluster) -> None:
    """Raises Forbidden for a user who may not see all groups: Kafka leaves the others out of its answer in silence."""
    allowed = cluster.call(cluster.admin.describe_cluster).get("authorized_operations")
    if allowed is not None and "DESCRIBE" not in allowed:
        raise Forbidden(
            "this user may not see every group (DESCRIBE on the cluster), so what another one has not read would go"
        )
