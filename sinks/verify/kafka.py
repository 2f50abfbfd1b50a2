"""Checks Kafka against the fence: lag, and the order of committed, fence and log end."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.kafka import Cluster
from sinks.fence import Fence
from sinks.verify.report import Check, Problems


def lag_check(cluster: Cluster, groups: Mapping[str, str]) -> Check:
    """Checks that every group (by name: its topic) has read its topic to the end."""
    problems = Problems()
    for group, topic in groups.items():
        committed = cluster.committed(group, topic)  # before the ends, or a lag could come out negative
        lag = sum(
            max(0, end - max(committed.get(p, 0), start)) for p, (start, end) in cluster.log(topic).ranges.items()
        )
        if lag:
            problems.counts[f"records of {topic} that {group} has not done"] += lag
            problems.examples.append(f"{group} is {lag:,} behind on {topic}: is its stage running?")
    return problems.check("no lag", f"{len(groups)} groups")


def offsets_check(fence: Fence, committed: Mapping[int, int], ends: Mapping[int, int]) -> Check:
    """Checks that in every partition committed <= fence <= log end."""
    problems = Problems()
    for partition, end in sorted(ends.items()):
        stored, done = fence.offsets.get(partition, 0), committed.get(partition, 0)
        if done > stored:
            problems.add(
                "commits past the fence",
                f"partition {partition}: committed {done}, fence {stored}; sinks.lance starts at the fence",
            )
        if stored > end:
            problems.add(
                "fences past the log",
                f"partition {partition}: fence {stored}, log end {end}; Kafka has lost records",
            )
    return problems.check("committed ≤ fence ≤ log end", f"{len(ends)} partitions")


def fence_check(fence: Fence, fence_rows: int, pages_id: str, vectors_id: str, dimension: int) -> Check:
    """Checks that there is one fence, which belongs to the topics that exist and to the table's own vectors."""
    problems = Problems()
    if fence_rows != 1:
        problems.add(
            "fence rows instead of one",
            f"the table has {fence_rows} rows with n < 0: fill another table (--table), and drop this one",
        )
    if pages_id not in fence.pages:
        problems.add("unknown pages topic", f"the fence does not know `pages` {pages_id}: sinks.lance --adopt")
    if fence.vectors != vectors_id:
        problems.add(
            "other vectors topic",
            f"the fence is for `vectors` {fence.vectors}, there is {vectors_id}: sinks.lance --adopt",
        )
    if fence.dimension != dimension:
        problems.add(
            "other dimension",
            f"the fence says {fence.dimension}, the vectors have {dimension}: fill another table (--table)",
        )
    return problems.check("one fence", f"{len(fence.pages)} `pages` topics accepted, {fence.dimension} dimensions")
