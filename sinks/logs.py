"""What Kafka has of `vectors`, as the start rule wants to know it."""

from __future__ import annotations

from pipeline.kafka import Cluster
from sinks.start import Log


def read_logs(cluster: Cluster, group: str, topic: str) -> dict[int, Log]:
    """Each partition's log and the group's commit. Read the fence first: its writer may be at work, and no log may seem
    to end before it."""
    committed, ends = cluster.committed(group, topic), cluster.log_ends(topic)
    return {p: Log(committed.get(p), start, ends[p]) for p, start in cluster.log_starts(topic).items()}
