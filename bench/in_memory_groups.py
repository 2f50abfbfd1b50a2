"""Consumer groups of the Kafka in memory: who has which partition, handed over as cooperative members do.

A partition is given to its new owner once the old one has given it back, which it does at its next poll; all others go
on meanwhile.
"""

from __future__ import annotations

from typing import Any

from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata


class Member:
    """One member: what it has, and what it shall have."""

    def __init__(self, name: str, instance: str | None) -> None:
        self.name = name
        self.instance = instance
        self.fenced = False
        """True once another member has come with its `instance`."""
        self.owned: set[TopicPartition] = set()
        self.target: set[TopicPartition] = set()


class Group:
    """Members, and the commits of them all; its callers hold the cluster's lock."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.offsets: dict[TopicPartition, OffsetAndMetadata] = {}
        self._partitions: list[TopicPartition] = []

    def join(self, member: Member, partitions: list[TopicPartition]) -> None:
        """A static member takes the place of the one with its instance id, partitions included."""
        self._partitions = partitions
        for other in [one for one in self.members if one.instance is not None and one.instance == member.instance]:
            other.fenced = True
            self.members.remove(other)
        self.members.append(member)
        self._share_out()

    def leave(self, member: Member) -> None:
        if member in self.members:
            self.members.remove(member)
            self._share_out()

    def settle(self, member: Member) -> tuple[set[TopicPartition], set[TopicPartition]]:
        """Partitions that the member gives back, and those that it is given, at its poll."""
        if member not in self.members:
            return set(), set()
        lost = self.owes(member)
        member.owned -= lost
        taken = {partition for other in self.members for partition in other.owned}
        gained = member.target - taken
        member.owned |= gained
        return lost, gained

    def owes(self, member: Member) -> set[TopicPartition]:
        """Partitions that it still has to give back."""
        return member.owned - member.target

    def is_settled(self, member: Member) -> bool:
        return member.owned == member.target

    def described(self) -> dict[str, Any]:
        """As Kafka's admin client gives it."""
        settled = all(map(self.is_settled, self.members))
        state = "Empty" if not self.members else "Stable" if settled else "PreparingRebalance"
        return {"group_state": state, "members": [_described(member) for member in self.members], "error": None}

    def _share_out(self) -> None:
        """As many to each, or one more to the first ones; whoever has one keeps it as far as that allows."""
        if not self.members:
            return
        least, more = divmod(len(self._partitions), len(self.members))
        free = set(self._partitions)
        for number, member in enumerate(self.members):
            member.target = set(sorted(member.owned & free)[: least + (number < more)])
            free -= member.target
        for number, member in enumerate(self.members):
            wanted = sorted(free)[: least + (number < more) - len(member.target)]
            member.target |= set(wanted)
            free -= set(wanted)


def _described(member: Member) -> dict[str, Any]:
    topics = sorted({partition.topic for partition in member.owned})
    parts = [
        {"topic": topic, "partitions": sorted(tp.partition for tp in member.owned if tp.topic == topic)}
        for topic in topics
    ]
    return {"member_id": member.name, "member_assignment": {"assigned_partitions": parts}}
