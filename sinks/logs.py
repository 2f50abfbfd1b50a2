"""What Kafka has of `vectors`, as the start rule wants to know it."""

from __future__ import annotations

from pipeline.kafka import Cluster
from sinks.start import Log


def read_logs(cluster: Cluster, group: str, topic: str) -> dict[int, Log]:
    """Each partition's log and the group's commit. Read the fence first: its writer may be at work, and no log may seem
    to end before it."""
    committed = cluster.committed(group, topic)
    return {p: Log(committed.get(p), start, end) for p, (start, end) in cluster.log(topic).ranges.items()}
