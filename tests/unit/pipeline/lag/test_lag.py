"""How far the groups are behind: what is remembered from look to look, and what is shown of it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import ValidationError

from pipeline.lag import report
from pipeline.lag.__main__ import LagSettings
from pipeline.lag.ages import AGAIN_S, DOUBT_S, Ages, Place
from pipeline.lag.backlog import Backlog, Step
from pipeline.lag.discovery import Discovery, steps_of_all
from pipeline.lag.first_records import NONE_LEFT, First, OffsetRange
from pipeline.lag.metrics import LagMetrics
from pipeline.lag.observer import WINDOW_S, Movement
from pipeline.lag.rates import Pace
from pipeline.lag.view import GroupLag, GroupSummary, LagView, PartitionLag
from pipeline.offsets import TopicLog
from pipeline.settings import TableSettings
from pipeline.terminal import Console
from tests.waiting import wait_until

EMBED = Step("embed", "chunks.m", "embed.m")


def backlog(committed: Mapping[int, int], end: int = 100, start: int = 0, topic_id: str = "first") -> Backlog:
    return Backlog(EMBED, committed, TopicLog(topic_id, {0: start}, {0: end}))


# What lag is.


@pytest.mark.parametrize(
    ("committed", "start", "lag"),
    [
        ({0: 40}, 0, 60),
        ({}, 0, 100),
        ({}, 30, 70),
        ({0: 10}, 30, 70),
        ({0: 100}, 0, 0),
        ({0: 500}, 0, 0),
    ],
    ids=[
        "behind",
        "never committed",
        "never committed, trimmed",
        "trimmed beyond its commit",
        "done",
        "topic made anew",
    ],
)
def test_lag_is_counted_from_the_commit_or_from_the_logs_start(committed: dict[int, int], start: int, lag: int) -> None:
    assert backlog(committed, start=start).lag == lag


def test_offsets_without_records_are_no_lag() -> None:
    assert replace(backlog({0: 90}), finished=frozenset({0})).lags == {0: 0}


# How old the first record is.


class Reader:
    """Reads what `Ages` wants, as far as `first` knows it."""

    def __init__(self) -> None:
        self.ages = Ages()
        self.first: First | None = First(40, 1_000_000)
        self.read: list[OffsetRange] = []

    def look(self, at: Backlog, now: float) -> Backlog:
        self.read = []
        for place, offsets in self.ages.wanted([at], now):
            self.read.append(offsets)
            self.ages.take(place, offsets, self.first, now)
        return self.ages.with_finished(at)

    def age(self, wall_now: float, topic_id: str = "first") -> float | None:
        return self.ages.age_s(Place(EMBED.group, topic_id, 0), wall_now)


def test_a_group_that_stands_still_costs_one_read() -> None:
    reader = Reader()
    reader.look(backlog({0: 40}), 0.0)
    assert reader.age(1_060.0) == 60.0
    for second in range(1, 100, 5):
        reader.look(backlog({0: 40}, end=100 + second), float(second))
        assert not reader.read
    assert reader.age(1_160.0) == 160.0


def test_a_group_that_races_along_is_read_every_15_seconds() -> None:
    reader = Reader()
    reads = 0
    for second in range(60):
        reader.look(backlog({0: 40 + second}), float(second))
        reader.first = First(41 + second, 1_000_000)
        reads += len(reader.read)
    assert reads == 60 / AGAIN_S


def test_a_group_that_was_set_back_is_read_at_once() -> None:
    reader = Reader()
    reader.look(backlog({0: 40}), 0.0)
    reader.look(backlog({0: 10}), 1.0)
    assert [offsets.position for offsets in reader.read] == [10]


def test_a_group_that_caught_up_does_not_inherit_the_age_of_what_it_has_done() -> None:
    reader = Reader()
    reader.look(backlog({0: 40}), 0.0)
    reader.look(backlog({0: 100}), 1.0)
    assert reader.age(2_000.0) is None
    reader.look(backlog({0: 100}, end=101), 2.0)
    assert reader.read


def test_where_no_record_is_left_lag_reads_0_until_one_comes() -> None:
    reader = Reader()
    reader.first = NONE_LEFT
    assert reader.look(backlog({0: 97}), 0.0).lag == 0
    assert reader.look(backlog({0: 97}), 1.0).lag == 0
    assert not reader.read
    reader.first = First(100, 5)
    assert reader.look(backlog({0: 97}, end=101), 2.0).lag == 4


def test_what_has_come_since_a_log_was_found_empty_is_lag_even_before_it_is_read() -> None:
    reader = Reader()
    reader.first = NONE_LEFT
    reader.look(backlog({0: 97}), 0.0)
    assert reader.ages.with_finished(backlog({0: 97}, end=101)).lag == 4


def test_a_read_that_did_not_come_in_time_is_not_taken_for_no_record() -> None:
    reader = Reader()
    reader.first = None
    assert reader.look(backlog({0: 97}), 0.0).lag == 3
    assert reader.age(1_000.0) is None
    reader.look(backlog({0: 97}), AGAIN_S)
    assert reader.read


def test_a_remembered_record_is_doubted_in_the_end_as_compaction_may_have_taken_it() -> None:
    reader = Reader()
    reader.look(backlog({0: 40}), 0.0)
    reader.first = NONE_LEFT
    assert reader.look(backlog({0: 40}), DOUBT_S).lag == 0


def test_a_topic_that_was_made_anew_inherits_nothing() -> None:
    reader = Reader()
    reader.look(backlog({0: 40}), 0.0)
    reader.look(backlog({0: 40}, topic_id="second"), 1.0)
    assert reader.read


def test_partitions_that_were_not_reached_come_first_the_next_time() -> None:
    ages = Ages()
    many = Backlog(EMBED, {}, TopicLog("first", dict.fromkeys(range(100), 0), dict.fromkeys(range(100), 10)))
    served: set[int] = set()
    for turn in range(10):
        for place, offsets in ages.wanted([many], AGAIN_S * turn)[:10]:
            ages.take(place, offsets, None, AGAIN_S * turn)
            served.add(place.partition)
    assert served == set(range(100))


def test_a_record_of_the_future_has_no_negative_age() -> None:
    reader = Reader()
    reader.look(backlog({0: 40}), 0.0)
    assert reader.age(999.0) == 0.0


# How fast it goes.


def test_the_rate_counts_commits_and_not_what_was_trimmed() -> None:
    movement = Movement("first")
    movement.take(backlog({0: 0}), 0.0)
    movement.take(backlog({0: 0}, start=50), 10.0)
    assert movement.pace == Pace(0.0, 10.0)
    movement.take(backlog({0: 60}, start=50), 20.0)
    assert movement.pace == Pace(0.5, 20.0)


def test_the_first_commit_counts_from_the_logs_start() -> None:
    movement = Movement("first")
    movement.take(backlog({}, start=30), 0.0)
    movement.take(backlog({0: 50}, start=30), 10.0)
    assert movement.pace == Pace(2.0, 10.0)


def test_a_group_that_was_set_back_has_not_worked_backwards() -> None:
    movement = Movement("first")
    movement.take(backlog({0: 80}), 0.0)
    movement.take(backlog({0: 20}), 10.0)
    movement.take(backlog({0: 40}), 20.0)
    assert movement.pace == Pace(1.0, 20.0)


def test_a_rate_forgets_what_was_more_than_5_minutes_ago() -> None:
    movement = Movement("first")
    for second in range(0, 2 * int(WINDOW_S), 5):
        movement.take(backlog({0: min(second, 100)}, end=1_000), float(second))
    assert movement.pace is not None
    assert movement.pace.per_second == 0.0


def test_a_standstill_is_measured_while_there_is_something_to_do() -> None:
    movement = Movement("first")
    movement.take(backlog({0: 100}), 0.0)
    movement.take(backlog({0: 100}, end=101), 50.0)
    assert movement.stalled_s(0, 50.0) == 0.0, "it had nothing to do until now"
    movement.take(backlog({0: 100}, end=120), 80.0)
    assert movement.stalled_s(0, 80.0) == 30.0
    movement.take(backlog({0: 101}, end=120), 90.0)
    assert movement.stalled_s(0, 90.0) == 0.0
    movement.take(backlog({0: 120}, end=120), 95.0)
    assert movement.stalled_s(0, 200.0) == 0.0


@pytest.mark.parametrize(
    ("lag", "per_second", "left"),
    [(100, 2.0, 50.0), (100, 0.0, math.inf), (100, None, None), (0, 0.0, 0.0), (0, None, 0.0)],
)
def test_the_time_to_finish_is_endless_without_progress_and_unknown_at_first(
    lag: int, per_second: float | None, left: float | None
) -> None:
    assert GroupSummary("embed", "embed.m", 1, lag, per_second).drain_s == left


# What is shown.


def view(at: float | None = None, *, step: Step = EMBED, per_second: float = 2.0) -> LagView:
    partitions = (PartitionLag(0, 40, 60, 12.5, 3.0), PartitionLag(1, None, 100, None, 0.0))
    return LagView(
        time.time() if at is None else at,
        (GroupLag(step, 2, partitions, Pace(per_second, 300.0)),),
        {step.topic: TopicLog("first", {0: 0, 1: 0}, {0: 100, 1: 100})},
    )


def shown(metrics: LagMetrics | None = None, seen: LagView | None = None) -> dict[str, float]:
    registry = CollectorRegistry()
    metrics = LagMetrics(registry, keep_s=60)
    if seen is not None:
        metrics.show(seen)
    return samples(registry)


def samples(registry: CollectorRegistry) -> dict[str, float]:
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    assert len({line.rpartition(" ")[0] for line in lines}) == len(lines), "Prometheus refuses a series twice"
    return {line.rpartition(" ")[0].removeprefix("cirrostream_"): float(line.rpartition(" ")[2]) for line in lines}


def of_group(name: str) -> str:
    return f'{name}{{group="embed.m",stage="lag",stage_of="embed"}}'


def in_partition(name: str, number: int) -> str:
    return f'{name}{{group="embed.m",partition="{number}",stage="lag",stage_of="embed",topic="chunks.m"}}'


def test_metrics_say_what_a_look_has_found_and_nothing_of_what_is_not_known() -> None:
    found = shown(seen=view())
    assert found[in_partition("lag_records", 0)] == 60
    assert found[in_partition("lag_records", 1)] == 100
    assert found[in_partition("lag_seconds", 0)] == 12.5
    assert in_partition("lag_seconds", 1) not in found
    assert found[in_partition("partition_stalled_seconds", 0)] == 3
    assert found['committed_offset{group="embed.m",partition="0",stage="lag",topic="chunks.m"}'] == 40
    assert 'committed_offset{group="embed.m",partition="1",stage="lag",topic="chunks.m"}' not in found
    assert found['log_end_offset{partition="1",stage="lag",topic="chunks.m"}'] == 100
    assert found['topic_exists{stage="lag",topic="chunks.m"}'] == 1
    assert found[of_group("group_members")] == 2
    assert found[of_group("group_rate")] == 2
    assert found[of_group("drain_seconds")] == 80


def test_a_group_with_lag_and_no_progress_takes_forever() -> None:
    assert shown(seen=view(per_second=0.0))[of_group("drain_seconds")] == math.inf


def test_a_topic_that_is_gone_takes_its_series_with_it() -> None:
    registry = CollectorRegistry()
    metrics = LagMetrics(registry, keep_s=60)
    metrics.show(view())
    metrics.show(LagView(time.time(), (GroupLag(EMBED, 0, (), None),), {EMBED.topic: None}))
    found = samples(registry)
    assert found.pop('lag_refreshed_timestamp_seconds{stage="lag"}')
    assert found == {
        'topic_exists{stage="lag",topic="chunks.m"}': 0,
        of_group("group_members"): 0,
    }


def test_old_numbers_are_not_shown_for_new_ones_but_when_they_were_taken_is() -> None:
    old = time.time() - 61
    assert shown(seen=view(old)) == {'lag_refreshed_timestamp_seconds{stage="lag"}': pytest.approx(old)}


def test_what_the_operator_promised_is_there_from_the_start() -> None:
    registry = CollectorRegistry()
    LagMetrics(registry, keep_s=60, rate_floor=500, deadline=1_800_000_000)
    assert samples(registry) == {
        'rate_floor_records_per_second{stage="lag"}': 500,
        'deadline_timestamp_seconds{stage="lag"}': 1_800_000_000,
    }
    assert shown() == {}


def test_a_group_that_reads_two_topics_has_one_rate() -> None:
    other = view(step=replace(EMBED, topic="chunks.old"))
    both = LagView(time.time(), (*view().groups, *other.groups), {**view().topics, **other.topics})
    assert shown(seen=both)[of_group("group_rate")] == 4


def test_a_look_is_a_table_for_people_and_one_document_for_programs() -> None:
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    console.print(report.as_table(view()))
    table = console.export_text()
    assert "embed.m" in table
    assert "160" in table
    document = json.loads(report.as_json(view()))
    [group] = document["groups"]
    assert group["lag_records"] == 160
    assert group["partitions"][1] == {
        "partition": 1,
        "log_start": 0,
        "log_end": 100,
        "committed": None,
        "lag_records": 100,
        "lag_seconds": None,
    }


# Which groups.


def test_all_models_of_a_namespace_are_found_and_no_other_namespace_is() -> None:
    settings = LagSettings(namespace="ns", table="new")
    names = [
        "ns.pages",
        "ns.chunks.a-1",
        "ns.vectors.a-1",
        "ns.chunks.b-2",
        "ns.vectors.b-2",
        "chunks.c-3",
        "x.chunks.d-4",
    ]
    tables = {"ns.lance.old": {TopicPartition("ns.vectors.a-1", 0): 5}}
    assert [(step.topic, step.group) for step in steps_of_all(settings, names, tables)] == [
        ("ns.pages", "ns.chunk.a-1"),
        ("ns.chunks.a-1", "ns.embed.a-1"),
        ("ns.vectors.a-1", "ns.lance.old"),
        ("ns.pages", "ns.chunk.b-2"),
        ("ns.chunks.b-2", "ns.embed.b-2"),
        ("ns.vectors.b-2", "ns.lance.new"),
    ]


def test_a_table_that_reads_one_model_is_not_said_to_be_behind_with_another() -> None:
    settings = LagSettings(table="old")
    names = ["chunks.a-1", "vectors.a-1", "chunks.b-2", "vectors.b-2"]
    tables = {"lance.old": {TopicPartition("vectors.a-1", 0): 5}}
    steps = steps_of_all(settings, names, tables)
    assert [step.topic for step in steps if step.stage == "lance"] == ["vectors.a-1"]


# The process.


@pytest.mark.parametrize(
    "wrong", [{"deadline": "2026-12-01T06:00"}, {"rate_floor": 0}, {"every": 60, "keep_seconds": 30}], ids=str
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LagSettings(**wrong)


EXPORTER = """
import sys
from pipeline.errors import Fatal, TryAgain
from pipeline.kafka import Cluster
def answer(settings): raise {error}
Cluster.connect = answer
from pipeline.lag.__main__ import app
app(["--every", "0.5", "--all-groups"])
"""


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_a_share_group_that_is_named_like_a_tables_is_not_asked_for_offsets() -> None:
    asked: list[str] = []

    def list_group_offsets(groups: list[str]) -> dict[str, Any]:
        asked.extend(groups)
        return {}

    admin = SimpleNamespace(
        list_topics=list,
        list_groups=lambda: [
            {"group_id": "lance.a", "group_type": "Classic"},
            {"group_id": "lance.b", "group_type": "Share"},
        ],
        list_group_offsets=list_group_offsets,
    )
    cluster: Any = SimpleNamespace(admin=admin, call=lambda ask: ask())
    Discovery(cluster, TableSettings()).steps()
    assert asked == ["lance.a"]


def start(exporter: list[subprocess.Popen[str]], error: str, folder: Path) -> subprocess.Popen[str]:
    environment = {"CIRROSTREAM_METRICS_PORT": "0", "CIRROSTREAM_ANNOUNCE_DIR": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "-c", EXPORTER.format(error=error)],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    exporter.append(process)
    return process


def test_a_kafka_that_is_away_is_waited_for(exporter: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    process = start(exporter, "TryAgain('away')", tmp_path)
    announced = tmp_path / f"lag-{process.pid}.json"
    wait_until(announced.exists, "the exporter serves")
    address = json.loads(announced.read_text())["address"]

    def said() -> str:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    wait_until(lambda: 'retries_total{call="kafka",stage="lag"} 2.0' in said(), "it tries again")
    assert "cirrostream_lag_records{" not in said()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def test_a_kafka_that_refuses_ends_it_with_70_and_one_line(
    exporter: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = start(exporter, "Fatal('group x: GroupAuthorizationFailedError')", tmp_path)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 70
    assert "error: group x: GroupAuthorizationFailedError" in said
    assert "Traceback" not in said
