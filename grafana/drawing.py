"""Translates our panels to Grafana's: one function a kind, and one for what all kinds have in common."""

from __future__ import annotations

from collections.abc import Callable
from string import ascii_uppercase
from typing import TypeAlias

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.panels import Kind, Panel, Query
from grafana.queries import NEVER_S

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")


Sketch: TypeAlias = timeseries.Panel | stat.Panel | bargauge.Panel | heatmap.Panel | statetimeline.Panel | table.Panel


def draw(panel: Panel) -> Sketch:
    """The panel as Grafana's builder has it."""
    sketch = _KINDS[panel.kind](panel)
    sketch.title(panel.title).description(panel.means).datasource(SOURCE).targets(_targets(panel))
    sketch.unit(panel.unit).thresholds(_thresholds(panel))
    sketch.mappings(_mappings(panel)).links([_link(panel)]).data_links([_link(panel)])
    if panel.least is not None:
        sketch.min(panel.least)
    if panel.most is not None:
        sketch.max(panel.most)
    if panel.decimals is not None:
        sketch.decimals(panel.decimals)
    return sketch


def _targets(panel: Panel) -> list[Builder[Dataquery]]:
    return [_target(panel.kind, query, name) for query, name in zip(panel.queries, ascii_uppercase, strict=False)]


def _target(kind: Kind, query: Query, name: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(name).datasource(SOURCE)
    target.instant() if kind in ("bars", "table") else target.range()
    target.format(
        {"heat": PromQueryFormat.HEATMAP, "table": PromQueryFormat.TABLE}.get(kind, PromQueryFormat.TIME_SERIES)
    )
    return target.legend_format("{{le}}" if kind == "heat" else query.legend)


def _link(panel: Panel) -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Run book: " + panel.runbook.replace("-", " "))
    return link.type(model.DashboardLinkType.LINK).url(f"${{runbook}}#{panel.runbook}").target_blank(True)


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    steps = [model.Threshold(value=None, color=panel.base)]
    steps += [model.Threshold(value=level.value, color=level.color) for level in panel.levels]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def _mappings(panel: Panel) -> list[model.ValueMapping]:
    mappings: list[model.ValueMapping] = []
    if panel.states:
        words = {
            str(state.value): model.ValueMappingResult(text=state.text, color=state.color) for state in panel.states
        }
        mappings.append(model.ValueMap(words))
    if panel.never:
        result = model.ValueMappingResult(text=panel.never, color="red")
        mappings.append(model.RangeMap(model.DashboardRangeMapOptions(from_val=NEVER_S, result=result)))
    return mappings


def _lines(panel: Panel) -> Sketch:
    sketch = timeseries.Panel().line_width(2).fill_opacity(8).show_points(looks.VisibilityMode.NEVER).span_nulls(60_000)
    sketch.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    sketch.tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
    sketch.legend(_legend(panel))
    if panel.levels:
        style = common.GraphThresholdsStyleConfig().mode(looks.GraphTresholdsStyleMode.DASHED)
        sketch.thresholds_style(style)
    if panel.stacked:
        sketch.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL)).fill_opacity(30)
    if panel.logarithmic:
        sketch.scale_distribution(common.ScaleDistributionConfig().type(looks.ScaleDistribution.LOG).log(10))
    return sketch


def _legend(panel: Panel) -> common.VizLegendOptions:
    legend = common.VizLegendOptions().show_legend(True).placement(looks.LegendPlacement.BOTTOM)
    if panel.width < 12:
        return legend.display_mode(looks.LegendDisplayMode.LIST).calcs(["lastNotNull"])
    return legend.display_mode(looks.LegendDisplayMode.TABLE).calcs(["lastNotNull", "mean", "max"])


def _stat(panel: Panel) -> Sketch:
    sketch = stat.Panel().graph_mode(looks.BigValueGraphMode.AREA).reduce_options(_last())
    sketch.color_mode(looks.BigValueColorMode.VALUE).no_value("–")
    return sketch.text_mode(
        looks.BigValueTextMode.AUTO if len(panel.queries) == 1 else looks.BigValueTextMode.VALUE_AND_NAME
    )


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def _bars(_panel: Panel) -> Sketch:
    sketch = bargauge.Panel().orientation(looks.VizOrientation.HORIZONTAL).reduce_options(_last())
    return sketch.display_mode(looks.BarGaugeDisplayMode.GRADIENT).no_value("–")


def _heat(panel: Panel) -> Sketch:
    color = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    sketch = heatmap.Panel().color(color).show_tooltip().show_legend()
    return sketch.y_axis(heatmap.YAxisConfig().unit(panel.unit)).filter_values(heatmap.FilterValueRange().le(1e-9))


def _states(_panel: Panel) -> Sketch:
    return statetimeline.Panel().show_value(looks.VisibilityMode.NEVER).merge_values(True).row_height(0.8)


def _table(panel: Panel) -> Sketch:
    sketch = table.Panel().cell_height(looks.TableCellHeight.SM)
    sketch.with_transformation(model.DataTransformerConfig("merge", options={}))
    # A table of one query names its value "Value", one of several "Value #A", "Value #B", …
    names = ["Value"] if len(panel.queries) == 1 else [f"Value #{name}" for name in ascii_uppercase]
    renamed = {name: query.legend for name, query in zip(names, panel.queries, strict=False)}
    organize = {"excludeByName": {"Time": True}, "renameByName": renamed | {"instance": "replica"}}
    sketch.with_transformation(model.DataTransformerConfig("organize", options=organize))
    for query in panel.queries:
        if query.unit:
            sketch.override_by_name(query.legend, [model.DynamicConfigValue("unit", query.unit)])
    return sketch


_KINDS: dict[Kind, Callable[[Panel], Sketch]] = {
    "lines": _lines,
    "stat": _stat,
    "bars": _bars,
    "heat": _heat,
    "states": _states,
    "table": _table,
}
