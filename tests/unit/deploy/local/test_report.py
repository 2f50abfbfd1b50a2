"""The report of a run: complete in both forms, and of use to the next run."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from deploy.local.rate import last_rate
from deploy.local.report import RunReport, StageReport, markdown, write
from producers.account import Ledger


def report(**changes: object) -> RunReport:
    embed = StageReport(
        replicas=2,
        records=300,
        records_per_second=3.0,
        chunks=5_000,
        tokens=900_000,
        restarts=1,
        peak_memory_bytes=10**9,
    )
    whole = RunReport(
        outcome="complete",
        problem="",
        exit_code=0,
        started="2026-01-02T03:04:05+00:00",
        ended="2026-01-02T03:05:45+00:00",
        seconds=100.0,
        sources=["sample"],
        model="m-12345678",
        table="data/lance/wikipedia",
        kafka="127.0.0.1:9092",
        ledger=Ledger(lines=12, paired=6, read=6, produced=4, dropped={"redirect": 2}),
        pages_sent=4,
        rows=40,
        dead_letters=0,
        stages={"embed": embed},
        versions={"torch": "1"},
        logs="data/logs",
    )
    return msgspec.structs.replace(whole, **changes)


def test_the_markdown_holds_what_an_operator_asks_for() -> None:
    text = markdown(report(outcome="failed", problem="embed-0 was killed | by somebody"))
    for expected in (
        "# Run of 2026-01-02T03:04:05+00:00: failed",
        "embed-0 was killed \\| by somebody",
        "| + dropped: redirect | 2 |",
        "| balanced | yes |",
        "| embed | 2 | 300 | 3.0 | 5,000 | 900,000 | 1 | 1,000 |",
        "| torch | 1 |",
    ):
        assert expected in text


def test_the_rate_comes_from_the_newest_run_of_that_model_that_did_something(tmp_path: Path) -> None:
    assert last_rate(tmp_path, "m-12345678") is None
    write(report(seconds=200.0), tmp_path, datetime(2026, 1, 1, tzinfo=UTC))
    write(report(), tmp_path, datetime(2026, 1, 2, tzinfo=UTC))
    idle = msgspec.structs.replace(report().stages["embed"], chunks=0)
    write(report(stages={"embed": idle}), tmp_path, datetime(2026, 1, 3, tzinfo=UTC))
    write(report(model="other-12345678"), tmp_path, datetime(2026, 1, 4, tzinfo=UTC))
    (tmp_path / "run-20260105-000000.json").write_text("{}")
    assert last_rate(tmp_path, "m-12345678") == 50.0


def test_the_share_of_text_that_the_model_cannot_read_stands_in_the_report() -> None:
    for share, shown in ((None, "not measured"), (0.0, "0.0 %"), (0.000_01, "< 0.1 %"), (0.3815, "38.1 %")):
        assert f"| text that the model cannot read | {shown} |" in markdown(report(unknown_share=share))


def test_a_report_of_an_earlier_version_is_still_read(tmp_path: Path) -> None:
    path = write(report(), tmp_path, datetime(2026, 1, 2, tzinfo=UTC)).with_suffix(".json")
    old = json.loads(path.read_text())
    del old["unknown_share"]
    path.write_text(json.dumps(old))
    assert last_rate(tmp_path, "m-12345678") == 50.0
