"""Trimming: only what every reader is done with, nothing while a replay runs; and what keeps records is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import structlog
from kafka import TopicPartition
from kafka.errors import BrokerResponseError, GroupAuthorizationFailedError, TopicAuthorizationFailedError
from kafka.structs import OffsetAndMetadata

from pipeline.errors import Forbidden, TryAgain
from pipeline.kafka_errors import in_words
from pipeline.metrics import Metrics
from sinks.trim import FORBIDDEN_SECONDS, STANDS_SECONDS, TRIM_SECONDS, Trimmer
from sinks.trim_plan import GONE_SECONDS, Offsets, Plan, Reader, plan

R = TypeVar("R")
TOPIC = "vectors.m"


def limits(
    committed: Mapping[str, Offsets], highest: Mapping[str, dict[int, int]], required: str, bound: Offsets | None = None
) -> dict[int, int]:
    readers = {group: Reader(highest=offsets) for group, offsets in highest.items()}
    return plan(committed, readers, required, bound).limits


def test_records_go_once_every_group_and_the_table_have_them() -> None:
    committed = {"lance.a": {0: 90, 1: 40}, "lance.b": {0: 70, 1: 50}}
    assert limits(committed, committed, "lance.a") == {0: 70, 1: 40}
    assert limits(committed, committed, "lance.a", {0: 60}) == {0: 60, 1: 0}


def test_the_limit_is_what_was_committed_a_round_ago() -> None:
    assert limits({"g": {0: 90}}, {"g": {0: 50}}, "g") == {0: 50}


def test_nothing_goes_in_the_first_round_or_before_the_reader_has_committed() -> None:
    assert limits({"g": {0: 90}}, {}, "g") == {}
    assert limits({"other": {0: 90}}, {"other": {0: 90}}, "g") == {}


def test_nothing_goes_while_a_group_that_was_set_back_catches_up() -> None:
    highest = {"g": {0: 90, 1: 10}, "h": {0: 95, 1: 10}}
    assert limits({"g": {0: 95, 1: 10}, "h": {0: 20, 1: 10}}, highest, "g") == {1: 10}


def test_a_group_whose_commit_is_gone_keeps_its_records() -> None:
    assert limits({"g": {0: 90}}, {"g": {0: 90}, "h": {0: 30}}, "g") == {}


def test_a_new_group_is_seen_before_anything_goes() -> None:
    assert limits({"g": {0: 90}, "new": {0: 5}}, {"g": {0: 90}}, "g") == {}


def test_what_another_group_alone_keeps_is_counted_from_its_place_or_the_last_that_it_had() -> None:
    committed = {"g": {0: 90, 1: 50}, "slow": {0: 30, 1: 50}}
    readers = {"g": Reader({0: 90, 1: 50}), "slow": Reader({0: 30, 1: 50}), "gone": Reader({1: 40})}
    assert plan(committed, readers, "g") == Plan({0: 30}, {"slow": 60, "gone": 10})
    assert plan(committed, readers, "g", {0: 50, 1: 45}).kept == {"slow": 20, "gone": 5}


class Kafka:
    """A cluster as far as a trimmer asks it."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[int, int]] = {"g": {0: 90}}
        self.kinds: dict[str, str] = {}
        self.allowed = ["DESCRIBE"]
        self.topic_id = "one"
        self.error: Exception | None = None
        self.trims: list[dict[int, int]] = []
        self.admin = SimpleNamespace(
            list_groups=lambda: [
                {"group_id": name, "group_type": self.kinds.get(name, "Classic")} for name in self.groups
            ],
            list_group_offsets=self._offsets,
            describe_cluster=lambda: {"authorized_operations": self.allowed},
        )

    def _offsets(self, names: Sequence[str]) -> dict[str, dict[TopicPartition, OffsetAndMetadata]]:
        assert not any(self.kinds.get(name) == "Share" for name in names), "Kafka: GROUP_ID_NOT_FOUND"
        return {
            name: {TopicPartition(TOPIC, p): OffsetAndMetadata(o, "", -1) for p, o in self.groups[name].items()}
            for name in names
        }

    def call(self, ask: Callable[[], R]) -> R:
        return ask()

    def describe(self, topic: str) -> dict[str, Any]:
        return {"topic_id": self.topic_id}

    def trim(self, topic: str, before: Mapping[int, int]) -> None:
        if self.error is not None:
            raise in_words(self.error, "Kafka")
        if before:
            self.trims.append(dict(before))


class Rounds:
    """A trimmer, and a clock that goes on by a round at each turn."""

    def __init__(self, kafka: Kafka) -> None:
        self.now = 0.0
        self.metrics = Metrics("lance")
        self.trimmer = Trimmer(kafka, TOPIC, "g", self.metrics, clock=lambda: self.now)  # type: ignore[arg-type]

    def turn(self, seconds: float = TRIM_SECONDS) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += TRIM_SECONDS
            self.trimmer.turn()

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"cirrostream_{name}", {"stage": "lance", **labels})


def test_trimming_goes_on_when_a_second_group_has_been_gone_for_an_hour() -> None:
    kafka = Kafka()
    kafka.groups["other"] = {0: 30}
    rounds = Rounds(kafka)
    rounds.turn(2 * TRIM_SECONDS)
    assert kafka.trims == [{0: 30}]
    del kafka.groups["other"]
    with structlog.testing.capture_logs() as logs:
        rounds.turn(GONE_SECONDS)
        assert kafka.trims == [{0: 30}], "it may be just being set up again"
        assert rounds.value("trim_kept_records", group="other") == 60
        rounds.turn(2 * TRIM_SECONDS)
    assert kafka.trims == [{0: 30}, {0: 90}]
    assert rounds.value("trim_kept_records", group="other") == 0
    assert [(log["event"], log["group"]) for log in logs] == [
        ("trim.group_gone", "other"),
        ("trim.group_forgotten", "other"),
    ]


def test_a_group_that_comes_back_within_the_hour_is_a_reader_as_before() -> None:
    kafka = Kafka()
    kafka.groups["other"] = {0: 30}
    rounds = Rounds(kafka)
    rounds.turn(2 * TRIM_SECONDS)
    del kafka.groups["other"]
    rounds.turn(GONE_SECONDS / 2)
    kafka.groups["other"] = {0: 40}
    rounds.turn(2 * GONE_SECONDS)
    assert kafka.trims == [{0: 30}, {0: 40}]


def test_a_group_that_stands_still_keeps_its_records_and_is_named_once() -> None:
    kafka = Kafka()
    kafka.groups["other"] = {0: 30}
    rounds = Rounds(kafka)
    with structlog.testing.capture_logs() as logs:
        rounds.turn(3 * STANDS_SECONDS)
    assert kafka.trims == [{0: 30}]
    assert rounds.value("trim_kept_records", group="other") == 60
    (log,) = logs
    assert (log["event"], log["group"]) == ("trim.group_stands", "other")
    assert "groups delete -g other" in log["meaning"]


def test_without_its_own_reader_nothing_goes_however_long_it_takes() -> None:
    kafka = Kafka()
    kafka.groups["other"] = {0: 90}
    rounds = Rounds(kafka)
    rounds.turn(TRIM_SECONDS)
    del kafka.groups["g"]
    rounds.turn(2 * GONE_SECONDS)
    assert kafka.trims == []


@pytest.mark.parametrize(
    "error",
    [
        TopicAuthorizationFailedError("vectors.m"),
        GroupAuthorizationFailedError("other"),
        BrokerResponseError("vectors.m: TopicAuthorizationFailedError(partition=0): …, vectors.m: …"),
    ],
    ids=["one partition", "a group", "several partitions"],
)
def test_a_sink_that_may_not_trim_goes_on_without_and_says_so_once(error: Exception) -> None:
    kafka = Kafka()
    kafka.error = error
    rounds = Rounds(kafka)
    with structlog.testing.capture_logs() as logs:
        rounds.turn(3 * FORBIDDEN_SECONDS)
    assert [log["event"] for log in logs] == ["trim.forbidden"]
    assert rounds.value("trim_allowed", topic=TOPIC) == 0
    kafka.error = None
    rounds.turn(2 * FORBIDDEN_SECONDS)
    assert kafka.trims == [{0: 90}]
    assert rounds.value("trim_allowed", topic=TOPIC) == 1


def test_a_sink_that_may_not_see_every_group_deletes_nothing() -> None:
    kafka = Kafka()
    kafka.allowed = ["CREATE"]
    rounds = Rounds(kafka)
    with pytest.raises(Forbidden, match="every group"):
        rounds.trimmer.trim()
    rounds.turn(FORBIDDEN_SECONDS)
    assert kafka.trims == []


def test_whatever_else_kafka_answers_is_tried_again_and_counted() -> None:
    kafka = Kafka()
    rounds = Rounds(kafka)
    rounds.turn()
    for error in (BrokerResponseError("NotLeaderForPartitionError(partition=0): …"), TryAgain("away")):
        kafka.error = error
        rounds.turn()
    assert rounds.value("retries_total", call="trim") == 2


def test_a_topic_made_anew_is_trimmed_by_its_own_offsets() -> None:
    kafka = Kafka()
    rounds = Rounds(kafka)
    rounds.turn(2 * TRIM_SECONDS)
    kafka.topic_id, kafka.groups = "two", {"g": {0: 5}}
    rounds.turn(2 * TRIM_SECONDS)
    assert kafka.trims == [{0: 90}, {0: 5}]


def test_groups_that_share_their_records_have_no_place_to_keep() -> None:
    kafka = Kafka()
    kafka.groups["shared"] = {}
    kafka.kinds["shared"] = "Share"
    rounds = Rounds(kafka)
    rounds.turn(2 * TRIM_SECONDS)
    assert kafka.trims == [{0: 90}]
