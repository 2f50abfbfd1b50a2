"""Pictures of dashboards: what is asked, what is written beside the numbers, and what is drawn."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs

import pytest

from grafana.picture.answers import Prometheus
from grafana.picture.drawing import draw
from grafana.picture.panels import Panel, Query, dashboards
from grafana.picture.units import shown
from pipeline.errors import TryAgain, UsageError


class Answering(BaseHTTPRequestHandler):
    """Answers every query with the same two lines, and remembers what was asked."""

    asked: ClassVar[list[str]] = []
    answer: ClassVar[dict[str, object]] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.asked.append(parse_qs(body)["query"][0])
        answer = json.dumps(self.answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


def lines(*found: tuple[dict[str, str], list[float | str]]) -> dict[str, object]:
    result = [
        {"metric": labels, "values": [[60.0 * at, str(value)] for at, value in enumerate(values)]}
        for labels, values in found
    ]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    Answering.asked.clear()
    Answering.answer = lines(({"stage": "embed"}, [1, 2, "+Inf"]), ({"stage": "chunk"}, [3, "NaN", 4]))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Prometheus(f"http://127.0.0.1:{server.server_port}", 0.0, 600.0)
    server.shutdown()
    server.server_close()


def panel(kind: str, expression: str = "up", legend: str = "{{stage}}") -> dict[str, object]:
    return {
        "type": kind,
        "title": f"A {kind}",
        "gridPos": {"x": 0, "y": 0, "w": 12, "h": 8},
        "fieldConfig": {"defaults": {"unit": "s"}},
        "targets": [{"expr": expression, "legendFormat": legend}],
    }


def rendered(folder: Path, *panels: dict[str, object]) -> Path:
    for number, one in enumerate(panels):
        one["gridPos"] = {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8}
    (folder / "test.json").write_text(json.dumps({"title": "A test", "panels": list(panels)}))
    return folder


def test_a_query_is_asked_with_its_variables_filled_and_named_by_its_legend(prometheus: Prometheus) -> None:
    query = Query('sum by (stage) (rate(x_total{stage=~"$stage"}[$__rate_interval]))', "at {{stage}}")
    asked = Panel("rate", "timeseries", "s", 0, 0, 12, 8, (query,))
    assert [series.name for series in prometheus.series(asked)] == ["at embed", "at chunk"]
    assert Answering.asked == ['sum by (stage) (rate(x_total{stage=~".+"}[60s]))']


@pytest.mark.parametrize("kind", ["timeseries", "stat", "bargauge", "table", "heatmap", "state-timeline"])
def test_every_kind_of_panel_is_drawn_whatever_the_numbers_are(
    prometheus: Prometheus, tmp_path: Path, kind: str
) -> None:
    if kind == "heatmap":
        Answering.answer = lines(({"le": "0.5"}, [1, 2, 3]), ({"le": "+Inf"}, [1, 2, 4]))
    (dashboard,) = dashboards(rendered(tmp_path, panel(kind)))
    drawn, empty = draw(dashboard, prometheus)
    assert drawn.startswith(b"\x89PNG")
    assert not empty


def test_a_panel_without_data_is_drawn_as_one_and_named(prometheus: Prometheus, tmp_path: Path) -> None:
    Answering.answer = lines()
    (dashboard,) = dashboards(rendered(tmp_path, panel("timeseries"), panel("stat")))
    _, empty = draw(dashboard, prometheus)
    assert empty == ["A timeseries", "A stat"]


def test_panels_of_a_collapsed_row_are_drawn_too(prometheus: Prometheus, tmp_path: Path) -> None:
    row = {"type": "row", "title": "Below", "gridPos": {}, "panels": [panel("stat")]}
    (dashboard,) = dashboards(rendered(tmp_path, row))
    assert [one.title for one in dashboard.panels] == ["A stat"]


def test_a_picture_of_many_lines_stays_small(prometheus: Prometheus, tmp_path: Path) -> None:
    from PIL import Image

    many = [({"stage": f"stage {number}"}, [float((number * at) % 17) for at in range(240)]) for number in range(40)]
    Answering.answer = lines(*many)
    (dashboard,) = dashboards(rendered(tmp_path, *(panel("timeseries") for _ in range(12))))
    drawn, _ = draw(dashboard, prometheus)
    assert len(drawn) < 300_000
    assert Image.open(io.BytesIO(drawn)).width == 1200


def test_who_does_not_answer_or_refuses_is_told_in_one_line(prometheus: Prometheus) -> None:
    asked = Panel("rate", "stat", "s", 0, 0, 12, 8, (Query("sum(", ""),))
    Answering.answer = {"status": "error", "error": "parse error: unclosed left parenthesis"}
    with pytest.raises(UsageError, match=r"refuses sum\(: parse error"):
        prometheus.series(asked)
    with pytest.raises(TryAgain, match="does not answer"):
        Prometheus("http://127.0.0.1:9", 0, 1).series(asked)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0021, "s", "2.1 ms"),
        (5400, "s", "1.5 h"),
        (0.123, "percentunit", "12.3 %"),
        (3 * 1024**3, "bytes", "3 GiB"),
        (12_345, "short", "12.3 k"),
        (0, "s", "0 s"),
        (7.5, "suffix: chunks/s", "7.5 chunks/s"),
        (float("inf"), "s", "∞"),
        (float("nan"), "s", "–"),
    ],
)
def test_numbers_are_written_with_their_units(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text
