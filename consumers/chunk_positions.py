"""The first positions of the chunk stage's group, set before faust joins it: faust has no hook for them.

The rule is `pipeline.first_positions`.
"""

from __future__ import annotations

import time

from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

from pipeline.elimination import read_mark
from pipeline.errors import Fatal, TryAgain
from pipeline.first_positions import Positions, from_committed
from pipeline.kafka import Cluster
from pipeline.upgrade_grace import Grace, current


def positions_of(group: str) -> Positions:
    """The rule for this stage's group."""
    return from_committed(group, "go back to what there is with `python -m pipeline.replay --stage chunk`")


def set_first_positions(cluster: Cluster, topic: str, group: str) -> None:
    """Commits the log's start for partitions where the group has no position; checks those where it has.

    Several replicas may do this at once: Kafka refuses the commit from outside as soon as the group has a member, and
    that member has done the same before it joined.

    Raises:
        Fatal: a position is below the log's start.
        TryAgain: the positions cannot be set at the moment.
    """
    starts, committed = cluster.log(topic).starts, cluster.committed(group, topic)
    first = positions_of(group)({p: committed.get(p) for p in starts}, starts)
    missing = {TopicPartition(topic, p): OffsetAndMetadata(o, "", -1) for p, o in first.items() if p not in committed}
    if not missing:
        return
    refusal: object = "nothing was committed"
    try:
        cluster.call(lambda: cluster.admin.alter_group_offsets(group, missing))
    except Fatal as error:
        refusal = error
    if len(cluster.committed(group, topic)) < len(starts):
        raise TryAgain(f"group {group}: its first positions in {topic} could not be set: {refusal}")


def grace_of(cluster: Cluster, group: str) -> Grace:
    """The grace for an upgrade that a process before this one has begun, where one has; see `Consumer.note`."""
    found = cluster.call(lambda: cluster.admin.list_group_offsets([group])).get(group, {})
    beginnings = (read_mark(at.metadata).newer_since for at in found.values())
    return Grace(current(beginnings, int(time.time())))
