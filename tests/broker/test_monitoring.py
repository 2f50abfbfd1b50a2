"""A real Prometheus over a real run: what dashboards and rules ask has an answer there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from deploy.prometheus import render as rules
from grafana import render as dashboards
from grafana.panels import NEEDS
from grafana.queries import fill
from pipeline.kafka import Cluster
from pipeline.publisher import Message, Publisher
from pipeline.records import Page, encode
from pipeline.settings import Settings
from pipeline.topics import corpus_topics
from tests.conftest import SettingsEnv
from tests.dumps import pairs, write_shard
from tests.programs import needed
from tests.prometheus import Asked
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(600)

PATIENCE_S = 400
"""The writer measures its table, and times a search, once a minute."""
UNANSWERED = {"gpu", "measured", "indexed"}
"""What may have no answer, by `grafana.panels.NEEDS`: a table that pages go into all the time is measured after a
quarter of an hour. The exporter is told a least rate and a deadline here."""


@dataclass(frozen=True, slots=True)
class LocalRun:
    """A run with `--monitor` that goes on until the test ends it."""

    process: subprocess.Popen[bytes]
    said: Path
    prometheus: Asked


@pytest.fixture
def run(settings_env: SettingsEnv, cluster: Cluster, tmp_path: Path) -> Iterator[LocalRun]:
    needed("prometheus", "apt-get install prometheus")
    write_shard(tmp_path, pairs(range(1, 40)))
    command = [sys.executable, "-m", "deploy.local", "run", str(tmp_path), "--monitor", "--scrape-seconds", "1"]
    told = {"CIRROSTREAM_RATE_FLOOR": "1000", "CIRROSTREAM_DEADLINE": "2099-01-01T00:00:00Z"}
    said = tmp_path / "said"
    began = time.time()
    with said.open("wb") as output:
        process = subprocess.Popen([*command, "--follow"], env=settings_env() | told, stderr=output)
    try:
        wait_until(lambda: "Prometheus at" in said.read_text(), "the address is said")
        [address] = re.findall(r"Prometheus at (http://[\d.:]+)", said.read_text())
        prometheus = Asked(address, began)
        wait_until(prometheus.answers, "it has started")
        yield LocalRun(process, said, prometheus)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)


def feeding(cluster: Cluster, publisher: Publisher) -> Callable[[], None]:
    """Sends a few more pages at every call: a rate needs work that goes on."""
    pages, numbers = corpus_topics(Settings()).pages, iter(range(1_000_000))

    def feed() -> None:
        for partition in cluster.log(pages).ends:
            number = next(numbers)
            text = f"The harbour has {number} boats. " * (1 + number % 60)
            page = Page(wiki="testwiki", page_id=str(number), title=f"Page {number}", text=text)
            publisher.publish([Message(pages, page.key.encode(), encode(page), partition)]).wait(30)

    return feed


def questions() -> dict[str, str]:
    """Every query that must have an answer, by where it is asked; alerts by the figure that they watch."""
    panels = {
        f"{query.dashboard}: {query.panel}: {query.expr}": fill(query.expr)
        for query in dashboards.list_queries()
        if query.needs not in UNANSWERED
    }
    watched = {f"rule {query.rule}": query.watches for query in rules.list_queries() if query.needs not in UNANSWERED}
    return panels | watched


def test_every_query_of_every_panel_and_rule_has_an_answer_in_a_real_run(run: LocalRun, cluster: Cluster) -> None:
    wait_until(lambda: set(run.prometheus.now("up == 1")) >= {"chunk-0", "embed-0", "lance-0", "lag-0"}, "all up", 180)
    unanswered = questions()
    assert len(unanswered) > 80, "there are dashboards and rules"
    with Publisher(cluster) as publisher:
        feed = feeding(cluster, publisher)

        def answered() -> bool:
            feed()
            for place in [place for place, asked in unanswered.items() if run.prometheus.has(asked)]:
                del unanswered[place]
            return not unanswered

        try:
            wait_until(answered, "every query has an answer", PATIENCE_S)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *unanswered, run.said.read_text()[-2000:]])) from None
    assert_rules_are_sound(run.prometheus)
    assert_choices_are_offered(run.prometheus)
    assert_all_ends_with_the_run(run)


def test_what_may_be_without_an_answer_says_why() -> None:
    left_out = {query.needs for query in (*dashboards.list_queries(), *rules.list_queries())} & UNANSWERED
    assert left_out == UNANSWERED
    assert all(NEEDS[need] for need in left_out)


def assert_rules_are_sound(prometheus: Asked) -> None:
    """Prometheus has them all, and could evaluate each."""
    found = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in found} == {query.rule for query in rules.list_queries()}
    assert [rule["name"] for rule in found if rule["health"] != "ok"] == []


def assert_choices_are_offered(prometheus: Asked) -> None:
    """Every variable of every dashboard has something to choose from."""
    for board in dashboards.BOARDS:
        for choice in board.choices:
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", fill(choice.query)).groups()  # type: ignore[union-attr]
            found = prometheus.get("query", query=f"count by ({label}) ({selector})")["result"]
            assert [series["metric"][label] for series in found], f"{board.title}: {choice.name}"


def assert_all_ends_with_the_run(run: LocalRun) -> None:
    family = psutil.Process(run.process.pid).children(recursive=True)
    assert any("prometheus" in process.name() for process in family)
    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(90) == os.EX_OK, run.said.read_text()
    assert not psutil.wait_procs(family, timeout=5)[1]
