"""The configuration of each topic: one table, for who makes topics, every stage's start, the doctor and Kubernetes.

A rule is held against the values that are in force, so a broker's default that nobody chose counts like a setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.settings import MIB

HOUR_MS = 60 * 60 * 1000
DAY_MS = 24 * HOUR_MS

COMPACTED = ("pages", "progress")
"""Kinds that keep the newest record of each key. All others keep everything until the sink trims it."""

LARGEST_MIB = {"pages": 8, "progress": 8, "dead_letters": 32, "chunks": 24, "vectors": 32}
"""A dead letter holds the original bytes of any other topic."""

LARGEST_RECORD = 32 * MIB
"""Nobody sends a larger one, whatever a topic allows: the brokers would have to take it, the clients to hold it."""

SAFE_REPLICAS = 3


@dataclass(frozen=True, slots=True)
class Rule:
    """One setting of a topic, the value that it needs, and what happens otherwise."""

    key: str
    value: str
    otherwise: str
    compare: Literal["", "at least ", "at most "] = ""
    fatal: bool = True
    """A stage refuses to start; else only the doctor warns."""
    made: bool = True
    """Set when a topic is made; else only its default could be wrong."""

    def holds(self, has: str) -> bool:
        if not self.compare:
            return has == self.value
        try:
            return int(has) >= int(self.value) if self.compare == "at least " else int(has) <= int(self.value)
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that a topic breaks, and the value that it has."""

    rule: Rule
    has: str

    def __str__(self) -> str:
        rule = self.rule
        return f"{rule.key}={self.has} (needs {rule.compare}{rule.value}: else {rule.otherwise})"


def rules(kind: str, replicas: int) -> tuple[Rule, ...]:
    """The rules for a topic of this kind with so many replicas."""
    return (*(_COMPACTED if kind in COMPACTED else _KEPT), _largest(kind), *_in_sync(replicas), *_ALL)


def configs(kind: str, replicas: int) -> dict[str, str]:
    """The settings that a topic of this kind is made with."""
    return {rule.key: rule.value for rule in rules(kind, replicas) if rule.made}


def broken(kind: str, replicas: int, found: Mapping[str, str]) -> list[Broken]:
    """The rules that a topic breaks, given all its values in force.

    A setting that a broker does not have, for it is older than the setting, breaks only the rules that are set when a
    topic is made.
    """
    held = ((rule, found.get(rule.key, "")) for rule in rules(kind, replicas))
    return [Broken(rule, has or "unset") for rule, has in held if (has or rule.made) and not rule.holds(has)]


_COMPACTED = (
    Rule("cleanup.policy", "compact", "pages expire, or nothing replaces an older version"),
    Rule(
        "delete.retention.ms",
        str(35 * DAY_MS),
        "who was away for longer never learns of a deletion",
        compare="at least ",
    ),
    Rule(
        "min.compaction.lag.ms",
        str(7 * DAY_MS),
        "every older version of a page stays on the disk for so long",
        compare="at most ",
        fatal=False,
        made=False,
    ),
)
_KEPT = (
    Rule("cleanup.policy", "delete", "records without a successor are lost, or nothing can be trimmed"),
    Rule("retention.ms", "-1", "what nobody has read yet expires"),
    Rule("retention.bytes", "-1", "what nobody has read yet goes when there is much of it"),
)
"""No expiry: a limit would delete what nobody has read; the sink trims instead."""

_ALL = (
    Rule(
        "unclean.leader.election.enable",
        "false",
        "a broker that was behind may lead, and records that were acknowledged are gone",
        fatal=False,
        made=False,
    ),
    Rule(
        "message.timestamp.type",
        "CreateTime",
        "ages are counted from another moment than that of sending",
        fatal=False,
        made=False,
    ),
    Rule(
        "message.timestamp.before.max.ms",
        str(HOUR_MS),
        "a record that waited for Kafka is refused for its age",
        compare="at least ",
        fatal=False,
        made=False,
    ),
)


def _largest(kind: str) -> Rule:
    return Rule(
        "max.message.bytes", str(LARGEST_MIB[kind] * MIB), "large pages become dead letters", compare="at least "
    )


def _in_sync(replicas: int) -> tuple[Rule, ...]:
    key = "min.insync.replicas"
    takes_records = Rule(key, str(replicas), "no record is taken", compare="at most ", made=False)
    if replicas < SAFE_REPLICAS:
        return (takes_records,)
    safe = Rule(key, "2", "what one broker alone has is lost with its disk", compare="at least ", fatal=False)
    return (takes_records, safe)
