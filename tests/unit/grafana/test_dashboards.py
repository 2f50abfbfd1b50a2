"""Dashboards: what is committed is what the code renders, and whoever opens one finds an answer and a way on."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from deploy.prometheus.windows import parsed
from grafana import render
from grafana.panels import NEEDS, Board, Panel
from grafana.queries import fill
from tests import ROOT
from tests.catalogue import metrics, read_by, runbook_sections
from tests.programs import needed

COMMITTED = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
PANELS = [(board, panel) for board in render.BOARDS for panel in board.panels]
NAMES = [f"{board.title}: {panel.title}" for board, panel in PANELS]
DEBIAN = "apt-get install prometheus"

every_panel = pytest.mark.parametrize(("board", "panel"), PANELS, ids=NAMES)


def drawn(path: Path) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(path.read_text())["panels"]
    return panels


def test_the_committed_dashboards_are_what_the_code_renders() -> None:
    assert {path: path.read_text() for path in COMMITTED} == render.paths(), "type `make dashboards`, and commit"


def test_check_says_which_dashboard_is_not_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "FOLDER", tmp_path)
    assert CliRunner().invoke(render.app, []).exit_code == 0
    assert CliRunner().invoke(render.app, ["--check"]).exit_code == 0
    (tmp_path / "table.json").write_text("{}")
    stale = CliRunner().invoke(render.app, ["--check"])
    assert stale.exit_code == 1
    assert "table.json: not what the code renders" in stale.output


def test_a_dashboards_address_never_changes() -> None:
    found = {path.name: json.loads(path.read_text())["uid"] for path in COMMITTED}
    assert found == {
        "pipeline.json": "cirrostream-pipeline",
        "embedding.json": "cirrostream-embedding",
        "table.json": "cirrostream-table",
    }


@every_panel
def test_every_panel_says_its_unit_what_it_means_and_where_to_read_on(board: Board, panel: Panel) -> None:
    assert panel.unit
    assert len(panel.means) > 40
    assert panel.means.endswith((".", "'"))
    assert panel.runbook in runbook_sections(), f"docs/runbook.md has no section {panel.runbook}"


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_every_panel_leads_to_the_run_book_from_its_corner_and_from_its_lines(path: Path) -> None:
    for panel in drawn(path):
        if panel["type"] != "row":
            links = [*panel["links"], *panel["fieldConfig"]["defaults"]["links"]]
            assert [link["url"].split("#")[0] for link in links] == ["${runbook}", "${runbook}"], panel["title"]


@every_panel
def test_every_query_reads_metrics_that_there_are(board: Board, panel: Panel) -> None:
    for query in panel.queries:
        assert read_by(query.expr)
        assert read_by(query.expr) <= metrics(), query.expr


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    promtool = needed("promtool", DEBIAN)
    asked = [fill(query.expr) for query in render.list_queries()]
    assert not any("$" in expression for expression in asked)
    rules = [{"record": f"asked:query{number}:now", "expr": expression} for number, expression in enumerate(asked)]
    rules += [
        {"record": f"asked:choice{number}:now", "expr": fill(choice.query).split("(")[1].split(", ")[0]}
        for number, choice in enumerate(choice for board in render.BOARDS for choice in board.choices)
    ]
    path = tmp_path / "asked.yml"
    path.write_text(json.dumps({"groups": [{"name": "asked", "rules": rules}]}))
    checked = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout


@every_panel
def test_no_chart_draws_as_many_lines_as_there_are_replicas_or_partitions(board: Board, panel: Panel) -> None:
    for query in panel.queries:
        if panel.kind == "lines" and re.search(r"\{\{(instance|partition)\}\}", query.legend):
            assert query.expr.startswith(("topk(", "bottomk("))


@pytest.mark.parametrize("board", render.BOARDS, ids=lambda board: board.title)
def test_a_reader_chooses_the_prometheus_the_group_and_the_replica(board: Board) -> None:
    variables = json.loads(render.render(board))["templating"]["list"]
    assert {"datasource", "group", "replica"} <= {variable["name"] for variable in variables}
    asked = " ".join(query.expr for panel in board.panels for query in panel.queries)
    for choice in board.choices:
        assert f'=~"${choice.name}"' in asked, f"{choice.name} is asked for and changes nothing"


@pytest.mark.parametrize("board", render.BOARDS, ids=lambda board: board.title)
def test_panels_have_names_of_their_own_and_do_not_overlap(board: Board) -> None:
    assert Counter(panel.title for panel in board.panels).most_common(1)[0][1] == 1
    panels = json.loads(render.render(board))["panels"]
    cells = Counter(
        (place["x"] + x, place["y"] + y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["w"])
        for y in range(place["h"])
    )
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) == 23
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_what_may_be_empty_on_a_sound_run_says_why() -> None:
    needs = {query.needs for query in render.list_queries()} - {""}
    assert needs <= set(NEEDS)
    assert {query.panel for query in render.list_queries() if query.needs == "gpu"} == {
        "GPU utilisation",
        "GPU memory in use",
        "GPU temperature",
    }


def test_grafana_is_told_to_look_back_by_no_less_than_prometheus_scrapes() -> None:
    source = yaml.safe_load((ROOT / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert parsed(source["jsonData"]["timeInterval"]) >= parsed(scraped)
    assert "password" not in str(source).lower()


def test_dashboards_are_provisioned_as_code_and_not_changed_in_a_browser() -> None:
    provider = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/cirrostream.yaml").read_text())["providers"][0]
    assert (provider["type"], provider["allowUiUpdates"], provider["disableDeletion"]) == ("file", False, True)
