"""One dashboard as one picture: the same panels in the same places, with their titles, units and real data.

A sketch of Grafana, not Grafana. A panel without data says so: a picture in the documentation that a person's own
Grafana would not show is worse than none.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from grafana.picture.answers import Prometheus
from grafana.picture.cards import ROW_IN, TEXT, WIDTH_IN, Card, Drawing, draw_figures, draw_nothing, draw_table
from grafana.picture.charts import draw_heat, draw_lines, draw_states
from grafana.picture.panels import Dashboard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 80
PALETTE = 160
"""Colours: enough for lines, text and heat maps, and half of the bytes."""
DRAWINGS: dict[str, Drawing] = {
    "stat": draw_figures,
    "gauge": draw_figures,
    "bargauge": draw_figures,
    "table": draw_table,
    "heatmap": draw_heat,
    "state-timeline": draw_states,
}
"""By Grafana's types of panels; all others are lines."""


def draw(dashboard: Dashboard, prometheus: Prometheus) -> tuple[bytes, list[str]]:
    """The PNG, and the titles of the panels that have no data."""
    from matplotlib.figure import Figure

    rows = max(panel.y + panel.h for panel in dashboard.panels) + 1
    figure = Figure(figsize=(WIDTH_IN, rows * ROW_IN), dpi=DPI, facecolor="#f4f5f5")
    figure.text(0.01, 1 - 0.5 / rows, dashboard.title, size=15, weight="bold", va="center", color=TEXT)
    for heading, y in dashboard.headings:
        figure.text(0.01, 1 - (y + 1.5) / rows, heading, size=11, va="center", color=TEXT)
    empty = []
    for panel in dashboard.panels:
        series = prometheus.series(panel)
        card = Card(figure, panel, rows, start=prometheus.start, end=prometheus.end)
        if series:
            DRAWINGS.get(panel.kind, draw_lines)(card, series)
        else:
            draw_nothing(card)
            empty.append(panel.title)
    return _png(figure), empty


def _png(figure: Figure) -> bytes:
    from PIL import Image

    drawn, reduced = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(PALETTE).save(reduced, "PNG", optimize=True)
    return reduced.getvalue()
