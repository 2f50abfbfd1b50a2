"""The share of the whole and the time that is left, by tokens where they are known: of Kafka, or of a run's source."""

from __future__ import annotations

import io
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pipeline.lag.backlog import Step
from pipeline.lag.rates import Pace
from pipeline.lag.view import GroupLag, PartitionLag
from pipeline.status import collector
from pipeline.status.collector import Pipeline, StatusCollector
from pipeline.status.document import Status
from pipeline.status.kafka_watcher import KafkaView
from pipeline.status.readings import Reading
from pipeline.status.screen import Lines
from pipeline.status.table import draw, line
from pipeline.status.targets import Target
from pipeline.status.whole import Source
from pipeline.terminal import Console

STEPS = [Step("chunk", "pages", "c"), Step("embed", "chunks", "e"), Step("lance", "vectors", "l")]


@dataclass
class Site:
    """A pipeline of which the test says what Kafka and the replicas tell."""

    patch: pytest.MonkeyPatch
    source: Source | None = None
    lags: dict[str, int] = field(default_factory=lambda: {"chunk": 0, "embed": 0, "lance": 0})
    pages: int = 0
    readings: list[Reading] = field(default_factory=list)
    left_out: int = 0
    members: int = 1
    """Of every group."""
    pace: float = 2.0
    """Pages a second, of every stage."""

    def __post_init__(self) -> None:
        self.kafka: Any = self
        self.steps = STEPS
        self.over = False
        self.patch.setattr(collector, "ask", lambda _: {f"h:{n}": one for n, one in enumerate(self.readings)})
        self.look = StatusCollector(Pipeline("k:1", "", "m", ()), self.kafka, self, 60.0, source=self.source)

    def find(self) -> list[Target]:
        return [Target(f"{one.stage}-{n}", f"h:{n}", one.stage) for n, one in enumerate(self.readings)]

    def await_end(self) -> None:
        self.over = True

    @property
    def view(self) -> KafkaView:
        groups, pace = [], Pace(self.pace, 60.0)
        before = self.pages
        for step in STEPS:
            before -= self.lags[step.stage]
            partition = PartitionLag(0, before, self.lags[step.stage], None, 0.0)
            groups.append(GroupLag(step, self.members, (partition,), Pace(self.pace, 100.0), pace, before))
        return KafkaView(tuple(groups), self.pages, pace, pace, 0, looked_at=time.monotonic())

    def take(self, pages: int, chunk: int, embed: int, lance: int) -> Status:
        """A look at so many pages in Kafka, and so many that each stage has not done."""
        self.pages, self.lags = pages, {"chunk": chunk, "embed": embed, "lance": lance}
        return self.look.take()


def shares(status: Status) -> list[float | None]:
    return [None if stage.share is None else round(stage.share, 2) for stage in status.stages]


def shown(status: Status) -> str:
    console = Console(file=io.StringIO(), width=110)
    console.print(draw(status, 110))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_view_tells_the_share_of_what_is_in_kafka_now(monkeypatch: pytest.MonkeyPatch) -> None:
    status = Site(monkeypatch).take(pages=1000, chunk=100, embed=300, lance=100)
    assert shares(status) == [None, 0.9, 0.6, 0.5]
    assert status.share == 0.5
    assert "50% of what is in Kafka now" in shown(status)
    assert " | ALL 50% ETA " in line(status)


def test_a_run_tells_the_share_of_its_source_and_counts_what_was_done_since_it_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = Site(monkeypatch, Source(done_before=100, pages=1100))
    first = site.take(pages=5_000, chunk=0, embed=0, lance=0)
    assert [stage.items for stage in first.stages] == [0, 0, 0, 0]
    assert first.share == pytest.approx(100 / 1100), "an earlier run has done these"
    status = site.take(pages=5_500, chunk=100, embed=100, lance=0)
    assert [stage.items for stage in status.stages] == [500, 400, 300, 300]
    assert [stage.lag for stage in status.stages] == [500, 100, 100, 0]
    assert shares(status) == [0.55, 0.45, 0.36, 0.36]
    assert "36% of the source" in shown(status)
    assert "~500" in shown(status), "an estimate"


def test_what_was_read_is_the_whole_once_the_reading_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, Source(pages=2_000))
    site.take(pages=0, chunk=0, embed=0, lance=0)
    site.look.await_end()
    assert site.over
    status = site.take(pages=1_000, chunk=0, embed=250, lance=0)
    assert shares(status) == [1.0, 1.0, 0.75, 0.75]
    assert status.stages[0].lag == 0


def test_a_source_of_unknown_size_has_no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    status = Site(monkeypatch, Source()).take(pages=1_000, chunk=0, embed=250, lance=0)
    assert shares(status) == [None] * 4
    assert status.share is None
    assert "%" not in shown(status)


def tell(site: Site, *, cut: tuple[int, int], embedded: tuple[int, int]) -> None:
    """Records and tokens of the one chunker and of the one embedder, which began 100 s ago."""
    began = time.time() - 100
    site.readings = [
        Reading(stage, records=records, tokens=tokens, ready=True, assigned=1, started=began)
        for stage, (records, tokens) in (("chunk", cut), ("embed", embedded))
    ]


def test_the_time_of_the_embedders_is_told_by_tokens_for_old_articles_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch)
    tell(site, cut=(200, 70_000), embedded=(100, 60_000))
    status = site.take(pages=200, chunk=0, embed=100, lance=0)
    embed = next(stage for stage in status.stages if stage.stage == "embed")
    assert embed.tokens is not None
    assert embed.tokens.waiting == 10_000, "the pages that wait are short"
    assert embed.eta_s == pytest.approx(10_000 / 600, rel=0.05)
    assert status.eta_s == pytest.approx(10_000 / 600, rel=0.05), "by pages it would be 50 s"
    assert "by its tokens" in shown(status)


def test_pages_that_were_not_read_yet_count_with_the_tokens_that_the_estimate_expects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = Site(monkeypatch, Source(pages=1_000, tokens_a_page=100.0), pace=20.0)
    site.take(pages=0, chunk=0, embed=0, lance=0)
    tell(site, cut=(200, 70_000), embedded=(100, 60_000))
    status = site.take(pages=200, chunk=0, embed=100, lance=0)
    assert status.eta_s == pytest.approx((10_000 + 800 * 100) / 600, rel=0.05)


def test_without_tokens_the_time_is_told_by_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    status = Site(monkeypatch).take(pages=200, chunk=0, embed=100, lance=0)
    assert status.eta_s == 50.0
    assert "by its pages" in shown(status)


def test_a_stage_whose_replica_loads_its_model_does_not_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch)
    status = site.take(pages=200, chunk=0, embed=100, lance=0)
    embed = next(stage for stage in status.stages if stage.stage == "embed")
    assert replace(embed, partitions_stalled=1).stands_still
    site.readings = [Reading("embed", ready=False)]
    loading = next(stage for stage in site.look.take().stages if stage.stage == "embed")
    assert not replace(loading, partitions_stalled=1).stands_still


def test_a_replica_for_which_no_partition_is_left_is_idle_and_hides_no_standstill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = Site(monkeypatch, members=2)
    site.readings = [Reading("chunk", ready=True, assigned=1), Reading("chunk", ready=False, assigned=0)]
    stage = next(stage for stage in site.take(pages=9, chunk=0, embed=0, lance=0).stages if stage.stage == "chunk")
    assert [(replica.state, replica.note) for replica in stage.replicas] == [("idle", ""), ("idle", "no partitions")]
    waiting = (PartitionLag(0, 0, 5, None, 99.0),)
    stuck = (replace(stage.replicas[0], state="stuck"), stage.replicas[1])
    assert replace(stage, replicas=stuck, partitions=waiting, partitions_stalled=1).stands_still
    site.members = 1
    loading = next(stage for stage in site.look.take().stages if stage.stage == "chunk")
    assert [replica.state for replica in loading.replicas] == ["idle", "not ready"], "it has not joined the group"
    site.members, site.readings[0] = 2, Reading("chunk", ready=False, assigned=0)
    joining = next(stage for stage in site.look.take().stages if stage.stage == "chunk")
    assert [replica.state for replica in joining.replicas] == ["not ready", "not ready"], "nobody has the partition yet"


def test_a_total_waits_for_a_look_that_another_thread_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch)
    totals: list[Reading] = []
    thread = threading.Thread(target=lambda: totals.append(site.look.total("chunk")))

    def ask(_: object) -> dict[str, Reading]:
        thread.start()
        thread.join(0.2)
        assert not totals, "the replicas change meanwhile"
        return {"h:0": Reading("chunk", records=7, ready=True)}

    site.readings = [Reading("chunk")]
    monkeypatch.setattr(collector, "ask", ask)
    site.look.take()
    thread.join(10)
    assert [total.records for total in totals] == [7]


def test_a_log_gets_a_line_every_few_seconds_where_something_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("pipeline.status.screen.time.monotonic", lambda: now)
    out = io.StringIO()
    lines = Lines(Console(file=out, width=80))
    site = Site(monkeypatch)
    for pages, seconds in ((10, 0), (11, 2), (11, 5), (11, 10), (12, 15)):
        now = float(seconds)
        lines.show(replace(site.take(pages, 0, 0, 0), trouble=()), "making the table ready")
    said = out.getvalue().splitlines()
    assert [one.split(" | ")[0] for one in said] == ["read 10 pages", "read 11 pages", "read 12 pages"]
    assert all(one.endswith(" | making the table ready") for one in said), "no line is folded"
