"""Where a group starts in `pages`: at the log's start when it is new, and nowhere else without being told.

The consumer runs with auto_offset_reset=none, so that a gap is an error. `earliest` would jump over it in silence: a
group committed at 100 in a log that begins at 600 goes on at 600.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

from pipeline.elimination import read_mark
from pipeline.errors import Fatal, TryAgain
from pipeline.kafka import Cluster
from pipeline.upgrade_grace import Grace, current


def set_first_positions(cluster: Cluster, topic: str, group: str) -> None:
    """Commits the log's start for partitions where the group has no position; checks those where it has.

    Several replicas may do this at once: Kafka refuses the commit from outside as soon as the group has a member, and
    that member has done the same before it joined.

    Raises:
        Fatal: a position is below the log's start.
        TryAgain: the positions cannot be set at the moment.
    """
    starts, committed = cluster.log(topic).starts, cluster.committed(group, topic)
    check_no_gap(group, committed, starts)
    missing = {TopicPartition(topic, p): OffsetAndMetadata(o, "", -1) for p, o in starts.items() if p not in committed}
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


def check_no_gap(group: str, committed: Mapping[int, int], log_starts: Mapping[int, int]) -> None:
    """Raises Fatal when records that the group has not processed are gone."""
    for partition, offset in committed.items():
        if offset < log_starts.get(partition, 0):
            raise Fatal(
                f"group {group}, partition {partition}: records {offset} to {log_starts[partition] - 1} are gone and "
                "were not chunked; go back to what there is with `python -m pipeline.replay --stage chunk`"
            )
