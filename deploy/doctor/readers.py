"""Other readers of what the sink trims: a group that is forgotten keeps its records in Kafka for ever."""

from __future__ import annotations

from collections.abc import Iterator

from deploy.doctor.brokers import ASK
from deploy.doctor.context import Context, known
from deploy.doctor.findings import Check, Finding, ok, skip, warn
from deploy.doctor.machines import groups
from pipeline.errors import Forbidden
from pipeline.kafka import Cluster
from pipeline.offsets import group_members
from pipeline.topics import model_topics
from sinks.trim import all_committed, check_sight
from sinks.trim_plan import plan


def _trimming(context: Context) -> Finding:
    """Groups that keep records which the pipeline's own readers are done with, and in which nothing runs."""
    cluster = known(context.cluster)
    try:
        check_sight(cluster)
    except Forbidden as error:
        return skip(str(error), ASK.replace("describe_configs", "describe"))
    found = list(_kept(context, cluster))
    if not found:
        return ok("no other group keeps records that the pipeline is done with")
    members = group_members(cluster, [group for group, _, _ in found])
    left = [(group, topic, records) for group, topic, records in found if not members[group]]
    if not left:
        return ok(f"{', '.join(group for group, _, _ in found)} still read, and keep what they have not read yet")
    return warn(
        "; ".join(f"group {group} keeps {records:,} records of {topic}" for group, topic, records in left)
        + ", and nothing runs there: Kafka's disks fill",
        f"start what reads there, or: python -m kafka.admin -b {cluster.bootstrap.partition(',')[0]} groups delete"
        + "".join(f" -g {group}" for group, _, _ in left),
    )


def _kept(context: Context, cluster: Cluster) -> Iterator[tuple[str, str, int]]:
    names, own = model_topics(context.settings, known(context.model).tag), groups(context)
    for topic, required in ((names.chunks, own["embed"]), (names.vectors, own["lance"])):
        for group, records in plan(all_committed(cluster, topic), {}, required).kept.items():
            yield group, topic, records


CHECKS = (
    Check(
        "topics.trimming",
        _trimming,
        "python -m deploy.doctor --only kafka,topics",
        ("kafka.connection", "model.files"),
    ),
)
