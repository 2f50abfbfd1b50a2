"""Renders the dashboards: `python -m grafana.render` writes them, `--check` says whether the written ones are current.

The JSON is committed, for Grafana reads it as it is: nobody who runs the pipeline needs this package's dependencies.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from grafana import embedding, pipeline, table
from grafana.drawing import SOURCE, draw
from grafana.panels import RUNBOOK, Board, Choice, Need, Row
from pipeline.cli import command, new_app, run
from pipeline.errors import CheckFailed, Exit
from pipeline.terminal import say

BOARDS = (pipeline.BOARD, embedding.BOARD, table.BOARD)
FOLDER = Path(__file__).parent / "dashboards"
TAG = "cirrostream"
COLUMNS = 24
"""Grafana's grid."""


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One query of one panel; `needs` says why a sound run may have no answer to it, or is empty."""

    dashboard: str
    panel: str
    expr: str
    needs: Need


def list_queries() -> list[PanelQuery]:
    """All queries of all panels, with Grafana's variables still in them (`grafana.queries.fill` puts values there)."""
    return [
        PanelQuery(board.title, panel.title, query.expr, query.needs)
        for board in BOARDS
        for panel in board.panels
        for query in panel.queries
    ]


def render(board: Board) -> str:
    """A dashboard's JSON, the same every time."""
    sketch = dashboard.Dashboard(board.title).uid(board.uid).description(board.means).tags([TAG]).editable()
    sketch.time("now-1h", "now").refresh("15s").timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR)
    sketch.link(_others()).annotation(_alerts()).with_variable(_datasource())
    for choice in board.choices:
        sketch.with_variable(_variable(choice))
    sketch.with_variable(_runbook())
    top = 0
    for row in board.rows:
        top = _add(sketch, row, top)
    made: dict[str, Any] = json.loads(json.dumps(sketch.build(), cls=JSONEncoder))
    for number, panel in enumerate(made["panels"], 1):
        panel["id"] = number
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _add(sketch: dashboard.Dashboard, row: Row, top: int) -> int:
    """Draws a row from this line of the grid on; returns the line below it."""
    sketch.with_row(dashboard.Row(row.title).grid_pos(model.GridPos(h=1, w=COLUMNS, x=0, y=top)))
    filled = [top + 1] * COLUMNS
    for panel in row.panels:
        y, x = min((max(filled[x : x + panel.width]), x) for x in range(COLUMNS - panel.width + 1))
        filled[x : x + panel.width] = [y + panel.height] * panel.width
        sketch.with_panel(draw(panel).grid_pos(model.GridPos(h=panel.height, w=panel.width, x=x, y=y)))
    return max(filled)


def _others() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Cirrostream").type(model.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.as_dropdown(False).include_vars(False).keep_time(True)


def _alerts() -> dashboard.AnnotationQuery:
    firing = 'max by (alertname, stage, stage_of, instance) (ALERTS{alertname=~"Cirrostream.*",alertstate="firing"})'
    mark = dashboard.AnnotationQuery().name("Alerts").datasource(SOURCE).enable(True).icon_color("red")
    return mark.expr(firing)


def _datasource() -> dashboard.DatasourceVariable:
    return dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus").multi(False)


def _variable(choice: Choice) -> dashboard.QueryVariable:
    everything = model.VariableOption(selected=True, text=["All"], value=["$__all"])
    variable = dashboard.QueryVariable(choice.name).label(choice.label).datasource(SOURCE)
    variable.query({"query": choice.query, "refId": choice.name}).sort(model.VariableSort.ALPHABETICAL_ASC)
    variable.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return variable.multi(True).include_all(True).all_value(".+").current(everything)


def _runbook() -> dashboard.TextBoxVariable:
    address = model.VariableOption(selected=True, text=RUNBOOK, value=RUNBOOK)
    variable = dashboard.TextBoxVariable("runbook").label("Run book").default_value(RUNBOOK).current(address)
    return variable.options([address]).hide(model.VariableHide.HIDE_VARIABLE)


def paths() -> dict[Path, str]:
    """The file of each dashboard, and what must be in it."""
    return {FOLDER / f"{board.uid.removeprefix('cirrostream-')}.json": render(board) for board in BOARDS}


class RenderSettings(BaseSettings):
    """Settings of the rendering."""

    model_config = SettingsConfigDict(env_prefix="CIRROSTREAM_RENDER_", extra="ignore", frozen=True)

    check: bool = Field(False, description="Write nothing; exit 1 when what is written is not what the code renders.")


app = new_app("Renders the Grafana dashboards into grafana/dashboards.")


@command(app, RenderSettings)
def dashboards(settings: RenderSettings) -> int:
    """Renders the Grafana dashboards into grafana/dashboards."""
    for path, text in paths().items():
        if not settings.check:
            path.write_text(text, encoding="utf-8")
            say(f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}: written")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            raise CheckFailed(f"{path}: not what the code renders; type `make dashboards`, and commit")
    return Exit.DONE


if __name__ == "__main__":
    run(app, "grafana.render")
