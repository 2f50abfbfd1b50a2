"""The metrics of the lag exporter, each declared with a line of meaning.

They are declared here and not in `pipeline/metrics/`, because no other process has them, and because they are of
another kind: they come and go as one set, with topics and groups that this process does not own. So they are made at
the scrape from the last look; a topic that is gone takes its series with it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pipeline.lag.view import GroupLag, LagView
from pipeline.metrics.at_scrape import Declared, Measured

LOG = ("topic", "partition")
GROUP = ("stage_of", "group")
GROUP_LOG = ("stage_of", "group", "topic", "partition")

TOPIC_EXISTS = Declared("cirrostream_topic_exists", "1: the topic exists, 0: it does not.", ("topic",))
LOG_START = Declared("cirrostream_log_start_offset", "Offset of the first record that may still be there.", LOG)
LOG_END = Declared("cirrostream_log_end_offset", "Offset that the next record will get.", LOG)
COMMITTED = Declared(
    "cirrostream_committed_offset",
    "Offset that the group goes on at; absent when it never committed.",
    ("group", "topic", "partition"),
)
LAG_RECORDS = Declared(
    "cirrostream_lag_records",
    "Records not committed past; an upper bound where the topic is compacted.",
    GROUP_LOG,
)
LAG_SECONDS = Declared(
    "cirrostream_lag_seconds", "Age of the oldest record not committed past, by its timestamp; 0 when none.", GROUP_LOG
)
STALLED = Declared(
    "cirrostream_partition_stalled_seconds", "Time since the group last moved here while there was lag.", GROUP_LOG
)
GROUP_RATE = Declared("cirrostream_group_rate", "Offsets a second that the group commits, over 5 minutes.", GROUP)
DRAIN = Declared(
    "cirrostream_drain_seconds", "Time to finish at that rate; +Inf when there is lag and no progress.", GROUP
)
MEMBERS = Declared("cirrostream_group_members", "Replicas in the group now.", GROUP)
REFRESHED = Declared("cirrostream_lag_refreshed_timestamp_seconds", "When Kafka last answered, in Unix time.")
RATE_FLOOR = Declared("cirrostream_rate_floor_records_per_second", "The rate that the operator expects at least.")
DEADLINE = Declared("cirrostream_deadline_timestamp_seconds", "When the operator wants it done, in Unix time.")

LAG_METRICS = (
    *(TOPIC_EXISTS, LOG_START, LOG_END, COMMITTED, LAG_RECORDS, LAG_SECONDS, STALLED),
    *(GROUP_RATE, DRAIN, MEMBERS, REFRESHED, RATE_FLOOR, DEADLINE),
)


class LagMetrics(Collector):
    """Shows the last look, and for no longer than `keep_s`: old numbers that look like new ones are worse than none."""

    def __init__(
        self,
        registry: CollectorRegistry,
        keep_s: float,
        rate_floor: float | None = None,
        deadline: float | None = None,
    ) -> None:
        self._keep_s = keep_s
        self._promised = [
            Measured(declared.name, value)
            for declared, value in ((RATE_FLOOR, rate_floor), (DEADLINE, deadline))
            if value is not None
        ]
        self._view: LagView | None = None
        registry.register(self)

    def show(self, view: LagView) -> None:
        """Shows this look from now on."""
        self._view = view

    @property
    def fresh(self) -> bool:
        """True when there is something to show."""
        return self._view is not None and time.time() - self._view.at <= self._keep_s

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return [GaugeMetricFamily(one.name, one.meaning, labels=("stage", *one.labels)) for one in LAG_METRICS]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        families = {family.name: family for family in self.describe()}
        for measured in self._measured():
            families[measured.name].add_metric(("lag", *measured.labels), measured.value)
        return [family for family in families.values() if family.samples]

    def _measured(self) -> Iterator[Measured]:
        yield from self._promised
        view = self._view
        if view is None:
            return
        yield Measured(REFRESHED.name, view.at)
        if self.fresh:
            yield from _of_topics(view)
            yield from _of_groups(view)
            for group in view.groups:
                yield from _of_partitions(group)


def _of_topics(view: LagView) -> Iterator[Measured]:
    for topic, log in view.topics.items():
        yield Measured(TOPIC_EXISTS.name, float(log is not None), (topic,))
        for partition, start in log.starts.items() if log is not None else ():
            yield Measured(LOG_START.name, start, (topic, str(partition)))
        for partition, end in log.ends.items() if log is not None else ():
            yield Measured(LOG_END.name, end, (topic, str(partition)))


def _of_groups(view: LagView) -> Iterator[Measured]:
    """A group that reads two topics has one rate, and one series of it; two would make Prometheus refuse the scrape."""
    for (stage, name), members in {(g.step.stage, g.step.group): g.members for g in view.groups}.items():
        yield Measured(MEMBERS.name, members, (stage, name))
    for group in view.progress():
        if group.per_second is not None:
            yield Measured(GROUP_RATE.name, group.per_second, (group.stage, group.group))
        if group.drain_s is not None:
            yield Measured(DRAIN.name, group.drain_s, (group.stage, group.group))


def _of_partitions(group: GroupLag) -> Iterator[Measured]:
    step = group.step
    for at in group.partitions:
        place = (step.topic, str(at.partition))
        labels = (step.stage, step.group, *place)
        if at.committed is not None:
            yield Measured(COMMITTED.name, at.committed, (step.group, *place))
        yield Measured(LAG_RECORDS.name, at.lag, labels)
        yield Measured(STALLED.name, at.stalled_s, labels)
        if at.age_s is not None:
            yield Measured(LAG_SECONDS.name, at.age_s, labels)
