"""Rules: every alert fires when it should and is silent when it should; who is called knows what to do."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from deploy.prometheus import render
from deploy.prometheus.rule import Alert
from deploy.prometheus.windows import Windows, as_duration, parsed
from tests.catalogue import metrics, read_by, runbook_sections
from tests.programs import needed

FOLDER = Path(render.__file__).parent
TESTS = sorted((FOLDER / "tests").glob("*.yml"))
RULES = sorted((FOLDER / "rules").glob("*.yml"))
ALERTS = render.alerts()
NAMES = {
    "CirrostreamStageStuck",
    "CirrostreamPartitionStuck",
    "CirrostreamReplicaStuck",
    "CirrostreamReplicaDown",
    "CirrostreamRateBelowFloor",
    "CirrostreamErrorRateHigh",
    "CirrostreamDeadLettersGrowing",
    "CirrostreamRecordsForged",
    "CirrostreamTextUnknown",
    "CirrostreamWatchdogOld",
    "CirrostreamDiskLow",
    "CirrostreamUpkeepBehind",
    "CirrostreamTrimmingHeld",
    "CirrostreamSearchWorse",
    "CirrostreamDeadlineMissed",
    "CirrostreamLagUnknown",
    "CirrostreamNoConsumers",
}
PROMETHEUS = "apt-get install prometheus"
ALERTMANAGER = "apt-get install prometheus-alertmanager"
SHORT_S = 10.0

every_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert.name} {alert.cause}".strip())


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [needed("promtool", PROMETHEUS), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def cases(alert: Alert) -> Iterator[tuple[str, float, bool]]:
    """Of each committed test of this alert: the test's name, when it looks, and whether the alert fires then."""
    for test in _committed_tests():
        for case in test["alert_rule_test"]:
            if case["alertname"] == alert.name:
                causes = {found["exp_labels"].get("cause", "") for found in case["exp_alerts"]}
                yield test["name"], _seconds(case["eval_time"]), alert.cause in causes


@cache
def _committed_tests() -> list[dict[str, Any]]:
    return [test for path in TESTS for test in yaml.safe_load(path.read_text())["tests"]]


def _seconds(duration: str) -> float:
    return sum(parsed(part) for part in re.findall(r"\d+(?:ms|[smh])", duration))


def test_the_committed_rules_are_what_the_code_renders() -> None:
    assert {path.name: path.read_text() for path in RULES} == render.files(Windows()), "type `make dashboards`"


def test_check_says_which_file_is_not_current(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path)]
    assert CliRunner().invoke(render.app, out).exit_code == 0
    assert CliRunner().invoke(render.app, [*out, "--check"]).exit_code == 0
    stale = CliRunner().invoke(render.app, [*out, "--check", "--window", "60s"])
    assert stale.exit_code == 1
    assert "not what the code renders" in stale.output


@pytest.mark.parametrize("window", ["", "2 minutes", "0s", "2d", "-5s"])
def test_a_window_that_is_none_is_refused(window: str, tmp_path: Path) -> None:
    assert CliRunner().invoke(render.app, ["--out", str(tmp_path), "--window", window]).exit_code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("seconds", "text"), [(120, "2m"), (90, "90s"), (7.5, "7500ms"), (3600, "1h"), (0, "0s")])
def test_durations_are_written_as_prometheus_reads_them(seconds: float, text: str) -> None:
    assert as_duration(seconds) == text


def test_prometheus_takes_the_rules_and_the_configuration() -> None:
    checked = promtool("check", "config", FOLDER / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(RULES)} rule files found" in checked.stdout


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_every_alert_fires_and_resolves_as_the_committed_tests_say(path: Path) -> None:
    tested = promtool("test", "rules", path)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@every_alert
def test_there_is_a_case_in_which_it_fires_and_one_in_which_it_is_silent_again(alert: Alert) -> None:
    fired: dict[str, float] = {}
    resolved = set()
    for test, at, fires in sorted(cases(alert), key=lambda case: case[1]):
        if fires:
            fired.setdefault(test, at)
        elif test in fired:
            resolved.add(test)
    assert fired, "no committed test makes it fire"
    assert resolved, "no committed test makes it resolve"


def test_the_alerts_are_those_that_the_run_book_promises() -> None:
    assert {alert.name for alert in ALERTS} == NAMES


@every_alert
def test_who_is_called_learns_what_is_wrong_how_urgent_it_is_and_where_to_read_on(alert: Alert) -> None:
    [rule] = [rule for rule in _rendered() if (rule["alert"], rule["labels"].get("cause", "")) == _key(alert)]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["for"]
    assert rule["annotations"]["summary"]
    assert re.search(r"\$value|\d", rule["annotations"]["description"]), "no number"
    address, _, section = rule["annotations"]["runbook_url"].partition("#")
    assert address.endswith("docs/runbook.md")
    assert section == alert.name.lower()
    assert section in runbook_sections(), f"docs/runbook.md has no section {alert.name}"


def _key(alert: Alert) -> tuple[str, str]:
    return alert.name, alert.cause


def _rendered() -> list[dict[str, Any]]:
    bodies = [yaml.safe_load(path.read_text()) for path in RULES]
    return [rule for body in bodies for group in body["groups"] for rule in group["rules"] if "alert" in rule]


@pytest.mark.parametrize("query", render.list_queries(), ids=lambda query: query.rule)
def test_every_rule_reads_metrics_that_there_are(query: render.RuleQuery) -> None:
    assert read_by(query.expr)
    assert read_by(query.expr) | read_by(query.watches) <= metrics()


def test_prometheus_understands_what_an_alert_watches(tmp_path: Path) -> None:
    rules = [{"record": f"watched:{n}:now", "expr": query.watches} for n, query in enumerate(render.list_queries())]
    path = tmp_path / "watched.yml"
    path.write_text(json.dumps({"groups": [{"name": "watched", "rules": rules}]}))
    checked = promtool("check", "rules", path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_with_a_short_window_a_stopped_replica_is_told_within_half_a_minute(tmp_path: Path) -> None:
    _render_short(tmp_path)
    stopped = {
        "interval": "1s",
        "input_series": [
            {"series": 'up{job="cirrostream",instance="embed-1"}', "values": "1x20 0x60"},
            {
                "series": 'cirrostream_last_turn_timestamp_seconds{job="cirrostream",instance="embed-1",stage="embed"}',
                "values": "0+1x20 _x60",
            },
        ],
    }
    assert _fires(tmp_path, stopped, "CirrostreamReplicaDown", at="50s")
    assert not _fires(tmp_path, stopped, "CirrostreamReplicaDown", at="20s")


def test_with_a_short_window_a_stage_without_progress_is_told_within_half_a_minute(tmp_path: Path) -> None:
    _render_short(tmp_path)
    labels = 'stage_of="embed",group="embed.m",topic="chunks.m",partition="0"'
    stuck = {
        "interval": "1s",
        "input_series": [
            {"series": f"cirrostream_partition_stalled_seconds{{{labels}}}", "values": "0x20 0+1x60"},
            {"series": f"cirrostream_lag_records{{{labels}}}", "values": "9x80"},
            {"series": 'cirrostream_group_members{stage_of="embed",group="embed.m"}', "values": "2x80"},
        ],
    }
    assert _fires(tmp_path, stuck, "CirrostreamStageStuck", at="50s")
    assert not _fires(tmp_path, stuck, "CirrostreamStageStuck", at="25s")


def _render_short(folder: Path) -> None:
    for name, text in render.files(Windows(SHORT_S)).items():
        (folder / name).write_text(text)


def _fires(folder: Path, series: dict[str, Any], alert: str, at: str) -> bool:
    """Asks promtool for no alert: what it complains of is what fires."""
    case = {"alertname": alert, "eval_time": at, "exp_alerts": []}
    body = {
        "rule_files": ["*.yml"],
        "evaluation_interval": "1s",
        "tests": [series | {"alert_rule_test": [case]}],
    }
    path = folder / "short.json"
    path.write_text(json.dumps(body))
    tested = promtool("test", "rules", path)
    assert tested.returncode == 0 or f'alertname="{alert}"' in tested.stdout + tested.stderr, tested.stderr
    return tested.returncode != 0


def amtool(*arguments: str) -> str:
    command = [needed("amtool", ALERTMANAGER), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_alertmanager_takes_its_example() -> None:
    assert "3 receivers" in amtool("check-config", str(FOLDER / "alertmanager.yml"))


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["environment=production", "severity=page"], "slack-production-page"),
        (["environment=production", "severity=ticket"], "slack-production-ticket"),
        (["environment=staging", "severity=page"], "slack-staging"),
        (["environment=somebody's laptop", "severity=page"], "slack-staging"),
    ],
)
def test_an_alert_goes_to_the_channel_of_its_environment(labels: list[str], receiver: str) -> None:
    told = amtool("config", "routes", "test", f"--config.file={FOLDER / 'alertmanager.yml'}", *labels)
    assert told.strip() == receiver


def test_the_alertmanagers_example_has_no_secret_and_names_alerts_that_there_are() -> None:
    text = (FOLDER / "alertmanager.yml").read_text()
    body = yaml.safe_load(text)
    assert "hooks.slack.com" not in text
    for receiver in body["receivers"]:
        assert all(set(slack) >= {"api_url_file", "channel"} for slack in receiver["slack_configs"])
    assert set(re.findall(r"Cirrostream\w+", text)) <= NAMES
