"""What each topic must be: the same table for who makes it and who checks it, held against the values in force."""

from __future__ import annotations

import pytest

from pipeline.topic_rules import LARGEST_MIB, broken, configs, rules
from tests import ROOT

KAFKAS_DEFAULTS = {
    "cleanup.policy": "delete",
    "delete.retention.ms": "86400000",
    "max.message.bytes": "1048588",
    "message.timestamp.before.max.ms": "9223372036854775807",
    "message.timestamp.type": "CreateTime",
    "min.compaction.lag.ms": "0",
    "min.insync.replicas": "1",
    "retention.bytes": "-1",
    "retention.ms": "604800000",
    "unclean.leader.election.enable": "false",
}


def keys(kind: str, replicas: int, found: dict[str, str], *, fatal: bool = True) -> list[str]:
    return [one.rule.key for one in broken(kind, replicas, found) if one.rule.fatal == fatal]


@pytest.mark.parametrize("replicas", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", LARGEST_MIB)
def test_a_topic_as_it_is_made_breaks_no_rule(kind: str, replicas: int) -> None:
    assert broken(kind, replicas, KAFKAS_DEFAULTS | configs(kind, replicas)) == []


@pytest.mark.parametrize("kind", ["chunks", "vectors", "dead_letters"])
def test_no_topic_that_somebody_has_still_to_read_may_have_a_limit(kind: str) -> None:
    made = KAFKAS_DEFAULTS | configs(kind, 1)
    assert keys(kind, 1, made | {"retention.bytes": "1073741824"}) == ["retention.bytes"]
    assert keys(kind, 1, made | {"retention.ms": "604800000"}) == ["retention.ms"]
    assert keys(kind, 1, made | {"cleanup.policy": "compact,delete"}) == ["cleanup.policy"]


def test_the_brokers_defaults_count_like_settings() -> None:
    assert keys("chunks", 1, KAFKAS_DEFAULTS | {"retention.bytes": "1000"}) == [
        "retention.ms",
        "retention.bytes",
        "max.message.bytes",
    ]
    assert keys("pages", 1, KAFKAS_DEFAULTS) == ["cleanup.policy", "delete.retention.ms", "max.message.bytes"]


def test_more_than_is_needed_is_enough() -> None:
    generous = {"max.message.bytes": "104857600", "delete.retention.ms": "9223372036854775807"}
    assert broken("pages", 1, KAFKAS_DEFAULTS | configs("pages", 1) | generous) == []


def test_more_in_sync_than_there_are_replicas_is_fatal_and_fewer_than_two_of_three_unsafe() -> None:
    made = KAFKAS_DEFAULTS | configs("pages", 2)
    assert keys("pages", 2, made | {"min.insync.replicas": "3"}) == ["min.insync.replicas"]
    assert keys("pages", 3, made | {"min.insync.replicas": "1"}, fatal=False) == ["min.insync.replicas"]
    assert broken("pages", 3, made | {"min.insync.replicas": "3"}) == []


def test_a_setting_that_an_old_broker_does_not_know_breaks_nothing_but_one_that_we_set_does() -> None:
    assert broken("pages", 1, configs("pages", 1)) == []
    assert keys("pages", 1, {"cleanup.policy": "compact"}) == ["delete.retention.ms", "max.message.bytes"]


def test_the_page_for_operators_has_every_rule_and_no_other() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    section = text.partition("## What the topics must be")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")] for line in section.splitlines() if line.startswith("| `")]
    told = {(key.strip("`"), verdict == "the stage does not start") for _, key, *_, verdict, _ in rows}
    every = [rule for kind in LARGEST_MIB for rule in rules(kind, 3)]
    assert told == {(rule.key, rule.fatal) for rule in every}
    for rule in every:
        if rule.key != "min.insync.replicas":
            assert any(row[1] == f"`{rule.key}`" and rule.value in " ".join(row) for row in rows), rule
