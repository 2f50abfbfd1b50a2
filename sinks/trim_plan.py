"""The rule for how far a topic may be trimmed, given what its readers have committed. Knows no Kafka.

A reader is a group with a commit in the topic, whether it runs or not: one that stands still keeps what comes after its
place. It is a reader no longer when its commit is gone (removed by an operator, or forgotten by Kafka after
`offsets.retention.minutes`) and has not come back within an hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

GONE_SECONDS = 3600.0
"""A group whose commit is gone keeps its records for so long: an operator may be just setting it up again."""

Offsets = Mapping[int, int]


@dataclass(slots=True)
class Reader:
    """A group as all rounds up to now have seen it."""

    highest: dict[int, int] = field(default_factory=dict)
    """The highest commit that it ever had, for each partition."""
    gone_since: dict[int, float] = field(default_factory=dict)
    """Since when a commit that was there is not."""
    latest: dict[int, int] = field(default_factory=dict)
    moved_at: float = 0.0
    """When its commits last changed."""

    def saw(self, committed: Offsets, now: float) -> list[int]:
        """Notes a round's commits; forgets those that have been gone for too long, and says of which partitions."""
        if committed != self.latest or not self.highest:
            self.moved_at = now
        self.latest = dict(committed)
        self.highest.update({p: max(offset, self.highest.get(p, 0)) for p, offset in committed.items()})
        self.gone_since = {p: self.gone_since.get(p, now) for p in self.highest if p not in committed}
        forgotten = [p for p, since in self.gone_since.items() if now - since >= GONE_SECONDS]
        for partition in forgotten:
            del self.highest[partition], self.gone_since[partition]
        return forgotten


@dataclass(frozen=True, slots=True)
class Plan:
    """Records that one round may delete, and those that it leaves though the topic's own reader is done with them."""

    limits: dict[int, int]
    """Offset of each partition below which records may go."""
    kept: dict[str, int]
    """Records that only this group still keeps; only groups that keep any."""


def plan(
    committed: Mapping[str, Offsets], readers: Mapping[str, Reader], required: str, bound: Offsets | None = None
) -> Plan:
    """The limits of this round.

    A partition is left alone while the group `required` has no commit there, while a group is new there or its commit
    is gone, and while any stands below the highest commit it ever had: a replay runs. The limit is what all had
    committed a round ago, so that a group which an operator is setting back just now still finds its records.

    Args:
        committed: group -> partition -> committed offset, now.
        readers: what earlier rounds have seen.
        bound: offset of each partition that is not passed, whatever is committed; where it has none, nothing goes.
    """
    limits: dict[int, int] = {}
    kept: dict[str, int] = {}
    for partition, done in committed.get(required, {}).items():
        now = _of(partition, committed.items())
        before = _of(partition, ((group, reader.highest) for group, reader in readers.items()))
        last = done if bound is None else min(done, bound.get(partition, 0))
        if now.keys() == before.keys() and all(offset >= before[group] for group, offset in now.items()):
            limits[partition] = min(last, *before.values())
        for group, offset in (before | now).items():
            if offset < last:
                kept[group] = kept.get(group, 0) + last - offset
    return Plan(limits, {group: records for group, records in kept.items() if group != required})


def _of(partition: int, groups: Iterable[tuple[str, Offsets]]) -> dict[str, int]:
    return {group: offsets[partition] for group, offsets in groups if partition in offsets}
