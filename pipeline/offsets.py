"""Positions of many logs and many groups, in as few questions as there are kinds of them.

A pipeline has three groups and up to 10,000 partitions a topic; asked one by one they would take a minute. A topic or
a group that is not there is an answer, not an error: both come and go while we look.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kafka import TopicPartition
from kafka.errors import GroupIdNotFoundError, UnknownTopicOrPartitionError, for_code

from pipeline.errors import TryAgain
from pipeline.kafka_errors import in_words

if TYPE_CHECKING:
    from pipeline.kafka import Cluster

EARLIEST, LATEST = -2, -1
PARTITIONS_A_REQUEST = 5_000


@dataclass(frozen=True, slots=True)
class TopicLog:
    """The beginnings and ends of the logs of a topic's partitions.

    A partition without a leader is left out: nobody can say. `topic_id` is another one once the topic is made anew.
    """

    topic_id: str
    starts: Mapping[int, int]
    ends: Mapping[int, int]
    leaderless: bool = False
    """True when a partition is left out."""

    @property
    def ranges(self) -> dict[int, tuple[int, int]]:
        """First offset and end of each partition, as `pipeline.kafka.read_range` takes them."""
        return {partition: (self.starts[partition], end) for partition, end in self.ends.items()}


def descriptions(cluster: Cluster, topics: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Kafka's descriptions of those of these topics that exist.

    Raises:
        TryAgain: Kafka does not answer, or a topic is just being deleted.
        CirrostreamError: Kafka refuses; see `in_words`.
    """
    names = sorted(set(topics))
    found = cluster.call(lambda: cluster.admin.describe_topics(names)) if names else []
    there = {}
    for topic in found:
        error = for_code(topic["error_code"])
        if topic["error_code"] and error is not UnknownTopicOrPartitionError:
            raise in_words(error(), f"topic {topic['name']}")
        if not topic["error_code"]:
            there[str(topic["name"])] = topic
    return there


def topic_logs(cluster: Cluster, topics: Iterable[str]) -> dict[str, TopicLog]:
    """The logs of those of these topics that exist. The ends are asked for last, so that no log ends before its start.

    Raises:
        TryAgain, CirrostreamError: as `descriptions` does.
    """
    there = descriptions(cluster, topics)
    partitions = [TopicPartition(name, p) for name, topic in there.items() for p in _led(topic)]
    starts, ends = _offsets(cluster, partitions, EARLIEST), _offsets(cluster, partitions, LATEST)
    return {
        name: TopicLog(
            str(topic["topic_id"]),
            of_topic(starts, name),
            of_topic(ends, name),
            len(_led(topic)) < len(topic["partitions"]),
        )
        for name, topic in there.items()
    }


def committed_offsets(cluster: Cluster, groups: Sequence[str]) -> dict[str, dict[TopicPartition, int]]:
    """The commits of each group, in all topics; none for a group that has not committed, or that is not there."""
    if not groups:
        return {}
    found = cluster.call(lambda: cluster.admin.list_group_offsets(list(groups)))
    return {
        group: {tp: at.offset for tp, at in found.get(group, {}).items() if at.offset >= 0} for group in set(groups)
    }


def groups_with_offsets(cluster: Cluster) -> list[str]:
    """All groups of the cluster but share groups: those have no offsets, and to be asked for them is an error."""
    listed = cluster.call(cluster.admin.list_groups)
    return [str(group["group_id"]) for group in listed if str(group.get("group_type", "")).lower() != "share"]


def group_members(cluster: Cluster, groups: Sequence[str]) -> dict[str, int]:
    """The number of members that each group has now; 0 for one that is not there. Raises Fatal when Kafka refuses."""
    if not groups:
        return {}

    def ask() -> dict[str, int]:
        found = cluster.admin.describe_groups(list(groups))
        return {group: _members(cluster, group, found.get(group, {})) for group in set(groups)}

    return cluster.call(ask)


def _led(topic: Mapping[str, Any]) -> list[int]:
    return sorted(p["partition_index"] for p in topic["partitions"] if p["leader_id"] >= 0)


def _offsets(cluster: Cluster, partitions: Sequence[TopicPartition], which: int) -> dict[TopicPartition, int]:
    """Trap: Kafka says that a topic which is deleted meanwhile is unknown, and that asking again may help."""
    found: dict[TopicPartition, int] = {}
    for first in range(0, len(partitions), PARTITIONS_A_REQUEST):
        wanted = dict.fromkeys(partitions[first : first + PARTITIONS_A_REQUEST], which)
        answer = cluster.call(lambda wanted=wanted: _listed(cluster, wanted))  # type: ignore[misc]
        found.update({tp: at.offset for tp, at in answer.items()})
    return found


def _listed(cluster: Cluster, wanted: Mapping[TopicPartition, int]) -> Any:
    try:
        return cluster.admin.list_partition_offsets(wanted)
    except UnknownTopicOrPartitionError as error:
        raise TryAgain(f"a topic was deleted while it was looked at: {error}") from error


def of_topic(offsets: Mapping[TopicPartition, int], topic: str) -> dict[int, int]:
    """The offsets in this topic, by partition."""
    return {tp.partition: offset for tp, offset in offsets.items() if tp.topic == topic}


def _members(cluster: Cluster, group: str, described: Mapping[str, Any]) -> int:
    """Trap: kafka-python gives an error here as a text that has the error's number in it."""
    number = re.match(r"\[Error (\d+)\]", described.get("error") or "")
    if number is not None:
        error = for_code(int(number[1]))
        if error is GroupIdNotFoundError:
            return 0
        problem = in_words(error(), f"Kafka at {cluster.bootstrap}: group {group}")
        raise error() if isinstance(problem, TryAgain) else problem  # a moment is given by `Cluster.call`
    return len(described.get("members", ()))
