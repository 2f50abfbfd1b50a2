"""What a process says of itself: every metric documented, none of them a lie, and no scrape that hangs."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pynvml
import pytest
from prometheus_client import generate_latest
from prometheus_client.registry import Collector

from pipeline.lag.metrics import LAG_METRICS
from pipeline.metrics import DISK, GPU, Metrics, gpu
from pipeline.metrics.at_scrape import AtScrape, Declared, Measured, disk
from pipeline.metrics.gpu import Gpu
from pipeline.metrics.series import MOST_VALUES, OTHER
from producers.account import Ledger
from producers.run.account import RunAccount, ShardAccount
from producers.run.processes import Event, Report, State
from producers.run.progress import Progress
from producers.run.shards import Shard
from sinks.search.probe import search_probe
from sinks.table import Table
from sinks.upkeep import Upkeep, UpkeepRules, UpkeepStep
from tests import ROOT
from tests.tables import embedded, new_table
from tests.waiting import wait_until

PAGE = ROOT / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(cirrostream_[a-z_]+)` \| (counter|gauge|histogram) \| ([^|]*)\|", re.MULTILINE)

Row = tuple[str, str, frozenset[str]]


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"cirrostream_{name}", {"stage": metrics.stage, **labels})


def documented(text: str) -> set[Row]:
    return {(name, kind, frozenset(re.findall(r"`([a-z_]+)`", labels))) for name, kind, labels in ROW.findall(text)}


def declared(metrics: Metrics) -> set[Row]:
    kinds = {"info": "gauge"}
    suffixes = {"counter": "_total", "info": "_info"}
    rows = set()
    collectors: list[Collector] = list(metrics.registry._collector_to_names)
    for collector in collectors:
        family = next(iter(collector.collect()))
        labels = frozenset(getattr(collector, "_labelnames", ())) - {"stage"}
        if family.type == "info":
            labels |= {label for sample in family.samples for label in sample.labels} - {"stage"}
        name = family.name + suffixes.get(family.type, "")
        rows.add((name, kinds.get(family.type, family.type), labels))
    return rows | {(one.name, "gauge", frozenset(one.labels)) for one in (*DISK, *GPU, *LAG_METRICS)}


def test_the_page_of_metrics_lists_exactly_those_that_there_are_with_type_and_labels() -> None:
    assert documented(PAGE.read_text()) == declared(Metrics("embed"))


def test_the_page_of_metrics_names_every_step_of_upkeep() -> None:
    assert {step.value for step in UpkeepStep} <= set(re.findall(r"`([a-z_]+)`", PAGE.read_text()))


def test_a_process_without_a_table_does_not_say_that_it_has_no_rows() -> None:
    text = generate_latest(Metrics("embed").registry).decode()
    assert "\ncirrostream_table_rows{" not in text
    assert "\ncirrostream_step_seconds_count{" not in text
    assert "\ncirrostream_batch_records_count{" not in text


def test_the_first_dead_letter_is_an_increase_from_0() -> None:
    metrics = Metrics("chunk")
    assert value(metrics, "dead_letters_total", reason="undecodable") == 0
    assert value(metrics, "records_total", event="done") == 0
    metrics.dead_letter("undecodable")
    assert value(metrics, "dead_letters_total", reason="undecodable") == 1


def test_a_label_that_takes_any_value_ends_in_other() -> None:
    metrics = Metrics("live")
    for number in range(MOST_VALUES + 50):
        metrics.drop(f"code {number}")
    text = generate_latest(metrics.registry).decode()
    assert text.count("\ncirrostream_drops_total{") == MOST_VALUES + 1
    assert value(metrics, "drops_total", reason=OTHER) == 50
    metrics.drop("code 3")
    assert value(metrics, "drops_total", reason="code 3") == 2


def test_a_step_that_fails_is_measured_too() -> None:
    metrics = Metrics("embed")
    with pytest.raises(ValueError, match="broken"), metrics.timed("commit"):
        raise ValueError("broken")
    assert value(metrics, "step_seconds_count", step="commit") == 1


def test_a_device_batch_counts_its_tokens_and_its_padding() -> None:
    metrics = Metrics("embed")
    metrics.device_batch(tokens=750, padded_tokens=1_000)
    assert value(metrics, "tokens_total") == 750
    assert value(metrics, "padded_tokens_total") == 1_000
    assert value(metrics, "batch_padding_efficiency_ratio_sum") == 0.75
    assert value(metrics, "batch_tokens_sum") == 750


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_driver_that_hangs_costs_its_own_gauges_and_one_thread(release: threading.Event) -> None:
    calls = []

    def read() -> list[Measured]:
        calls.append(1)
        release.wait(30)
        return [Measured("speed", 3)]

    metrics = Metrics("embed")
    metrics.registry.register(AtScrape("embed", [Declared("speed", "Speed.")], read, wait_s=0.01))
    for _ in range(3):
        text = generate_latest(metrics.registry).decode()
        assert "cirrostream_build_info{" in text
        assert "\nspeed{" not in text
    assert len(calls) == 1
    release.set()
    wait_until(lambda: "\nspeed{" in generate_latest(metrics.registry).decode(), "the gauge is back")


def test_a_gauge_that_cannot_be_read_is_absent_and_the_rest_is_there() -> None:
    def read() -> list[Measured]:
        raise OSError("no such device")

    metrics = Metrics("embed")
    metrics.registry.register(AtScrape("embed", [Declared("speed", "Speed.")], read))
    text = generate_latest(metrics.registry).decode()
    assert "cirrostream_build_info{" in text
    assert "speed" not in text


def test_the_disk_of_a_folder_that_is_not_made_yet_is_the_one_it_will_be_on(tmp_path: Path) -> None:
    found = {measured.name: measured.value for measured in disk(tmp_path / "not" / "yet")}
    assert 0 < found["cirrostream_disk_free_bytes"] <= found["cirrostream_disk_size_bytes"]


class Driver:
    """Stands in for NVML: so many GPUs, the last of which only tells its name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        def told(handle: int, answer: object) -> object:
            if handle == count - 1:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return answer

        answers = {
            "nvmlInit": lambda: None,
            "nvmlDeviceGetCount": lambda: count,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle}aaa",
            "nvmlDeviceGetName": lambda handle: "H200",
            "nvmlDeviceGetMemoryInfo": lambda handle: told(handle, SimpleNamespace(used=5, total=10)),
            "nvmlDeviceGetUtilizationRates": lambda handle: told(handle, SimpleNamespace(gpu=75)),
            "nvmlDeviceGetTemperature": lambda handle, sensor: told(handle, 61),
        }
        for name, answer in answers.items():
            monkeypatch.setattr(pynvml, name, answer)


def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    assert gpu.gpus() == []
    assert list(gpu.measure(["GPU-0aaa"])) == []


def test_a_replica_tells_of_its_own_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver(monkeypatch, count=4)
    found = {measured.name.removeprefix("cirrostream_gpu_"): measured for measured in gpu.measure(["GPU-1aaa"])}
    assert {measured.labels for measured in found.values()} == {("1",)}
    assert {name: measured.value for name, measured in found.items()} == {
        "memory_used_bytes": 5,
        "memory_size_bytes": 10,
        "utilization_ratio": 0.75,
        "temperature_celsius": 61,
    }


def test_what_a_gpu_does_not_tell_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver(monkeypatch, count=2)
    assert gpu.gpus()[1] == Gpu(1, "GPU-1aaa", "H200", None, None, None, None)
    assert list(gpu.measure(["GPU-1aaa"])) == []


@pytest.mark.parametrize(
    ("chosen", "indexes"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("2,0", [2, 0]),
        (" 1 ", [1]),
        ("1,7,2", [1]),
        ("GPU-2", [2]),
        ("GPU-", []),
        ("NoDevFiles", []),
    ],
)
def test_only_visible_gpus_count(monkeypatch: pytest.MonkeyPatch, chosen: str | None, indexes: list[int]) -> None:
    Driver(monkeypatch, count=3)
    environment = {} if chosen is None else {"CUDA_VISIBLE_DEVICES": chosen}
    assert [found.index for found in gpu.gpus(environment=environment)] == indexes


def test_whoever_counts_the_gpus_reads_the_choice_as_the_driver_does() -> None:
    assert gpu.chosen_devices(" 1 , GPU-2,-1,0") == ["1", "GPU-2"]
    assert gpu.chosen_devices("") == []


def test_the_readers_of_dumps_are_one_producer_in_the_metrics() -> None:
    shards = {
        name: ShardAccount(cast("Shard", None), cast("Progress", None), "reading", Ledger()) for name in ("one", "two")
    }
    account, metrics = RunAccount(shards), Metrics("produce")

    def say(shard: str, sent: int, state: State = "reading") -> None:
        in_flight = 7 if state == "reading" else 0
        ledger = Ledger(read=sent, produced=sent)
        report = Report(
            state=state, ledger=ledger, bytes_read=10 * sent, bytes_sent=100 * sent, bytes_in_flight=in_flight
        )
        account.take(Event(shard, report), metrics)

    for shard, sent in (("one", 2), ("two", 3), ("one", 5)):
        say(shard, sent)
    assert value(metrics, "bytes_in_flight") == 14
    say("one", 6, "finished")
    assert value(metrics, "records_total", event="done") == 9
    assert value(metrics, "bytes_total", direction="in") == 90
    assert value(metrics, "bytes_total", direction="out") == 900
    assert value(metrics, "bytes_in_flight") == 7


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_step_of_upkeep_that_keeps_failing_stays_due_and_its_success_ends_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, metrics, clock = new_table(tmp_path), Metrics("lance"), Clock()
    care = Upkeep(table, UpkeepRules(btree_merges=1, optimize_merges=10_000, gauge_seconds=1e9), metrics, clock=clock)
    assert value(metrics, "upkeep_due_since_timestamp_seconds", step="btree") == 0

    def fails() -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setitem(care._steps._actions, UpkeepStep.BTREE, fails)
    care.wrote(table.write([embedded("enwiki:1", 1, 3)], {0: 1}))
    assert care.turn() is UpkeepStep.BTREE
    since = value(metrics, "upkeep_due_since_timestamp_seconds", step="btree")
    clock.now += 30
    care.turn()
    assert since
    assert value(metrics, "upkeep_due_since_timestamp_seconds", step="btree") == since
    assert value(metrics, "upkeep_last_success_timestamp_seconds", step="btree") is None
    monkeypatch.setitem(care._steps._actions, UpkeepStep.BTREE, care._steps._btree)
    clock.now += 60
    assert care.turn() is UpkeepStep.BTREE
    assert value(metrics, "upkeep_due_since_timestamp_seconds", step="btree") == 0
    assert value(metrics, "upkeep_last_success_timestamp_seconds", step="btree")


def test_the_writer_searches_its_table_once_a_minute_and_says_how_long_it_took(tmp_path: Path) -> None:
    table, metrics, clock = new_table(tmp_path), Metrics("lance"), Clock()
    found: list[int] = []
    rules = UpkeepRules(search_seconds=60)
    care = Upkeep(table, rules, metrics, clock=clock, search=lambda table: found.append(len(search_probe(table))))
    care.wrote(table.write([embedded("enwiki:1", 1, 3)], {0: 1}))

    def work_off() -> None:
        while care.turn() is not None:
            pass

    work_off()
    assert found == []
    clock.now += 61
    work_off()
    assert found == [3]
    work_off()
    assert found == [3], "not before the next minute"
    assert value(metrics, "step_seconds_count", step="search") == 1
    assert value(metrics, "table_bytes")
    assert value(metrics, "table_unindexed_rows") == 3


def test_the_writer_does_not_search_where_it_would_read_a_table_without_index(tmp_path: Path) -> None:
    table, clock = new_table(tmp_path), Clock()
    found: list[Table] = []
    care = Upkeep(table, UpkeepRules(index_rows=2), Metrics("lance"), clock=clock, search=found.append)
    care.wrote(table.write([embedded("enwiki:1", 1, 3)], {0: 1}))
    care.do(UpkeepStep.SEARCH)
    assert found == []
