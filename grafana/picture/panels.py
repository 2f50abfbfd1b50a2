"""The dashboards as they were rendered: what is asked, where it is shown, and in which unit."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "dashboards"


@dataclass(frozen=True, slots=True)
class Query:
    """What a panel asks; in a table the legend is the column, which may have a unit of its own."""

    expression: str
    legend: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Word:
    """What is written in place of the numbers of a range, and its colour."""

    least: float
    most: float
    text: str
    colour: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; its place is in Grafana's grid of 24 columns."""

    title: str
    kind: str
    unit: str
    x: int
    y: int
    w: int
    h: int
    queries: tuple[Query, ...]
    thresholds: tuple[tuple[float, str], ...] = ()
    """From which value on it has which colour, ascending."""
    words: tuple[Word, ...] = ()
    stacked: bool = False
    logarithmic: bool = False

    def word_for(self, value: float) -> Word | None:
        return next((word for word in self.words if word.least <= value <= word.most), None)

    def colour_of(self, value: float) -> str:
        """The colour's name; empty when there is none."""
        word = self.word_for(value)
        if word is not None:
            return word.colour
        return next((colour for least, colour in reversed(self.thresholds) if value >= least), "")


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One file."""

    name: str
    title: str
    panels: tuple[Panel, ...]
    headings: tuple[tuple[str, int], ...]
    """Titles of rows, and where they are."""


def dashboards(folder: Path = FOLDER) -> list[Dashboard]:
    """All that there are, by name."""
    return [_dashboard(path) for path in sorted(folder.glob("*.json"))]


def _dashboard(path: Path) -> Dashboard:
    found = json.loads(path.read_bytes())
    panels = tuple(_panels(found["panels"]))
    rows = tuple((panel["title"], panel["gridPos"]["y"]) for panel in found["panels"] if panel["type"] == "row")
    return Dashboard(path.stem, found["title"], panels, rows)


def _panels(found: list[dict[str, Any]]) -> Iterator[Panel]:
    for panel in found:
        yield from _panels(panel.get("panels", []))
        if panel.get("targets"):
            yield _panel(panel)


def _panel(panel: dict[str, Any]) -> Panel:
    shown = panel.get("fieldConfig", {}).get("defaults", {})
    custom = shown.get("custom", {})
    place, units = panel["gridPos"], dict(_units(panel))
    return Panel(
        title=panel.get("title", ""),
        kind=panel["type"],
        unit=shown.get("unit", ""),
        x=place["x"],
        y=place["y"],
        w=place["w"],
        h=place["h"],
        queries=tuple(
            Query(target["expr"], legend := target.get("legendFormat") or "", units.get(legend, ""))
            for target in panel["targets"]
        ),
        thresholds=tuple(
            (-math.inf if step.get("value") is None else step["value"], step["color"])
            for step in shown.get("thresholds", {}).get("steps", [])
        ),
        words=tuple(_words(shown.get("mappings", []))),
        stacked=custom.get("stacking", {}).get("mode", "none") != "none",
        logarithmic=custom.get("scaleDistribution", {}).get("type") == "log",
    )


def _units(panel: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Units that differ from the panel's own, by the name of the series."""
    for override in panel.get("fieldConfig", {}).get("overrides", []):
        for change in override["properties"]:
            if change["id"] == "unit":
                yield override["matcher"]["options"], change["value"]


def _words(mappings: list[dict[str, Any]]) -> Iterator[Word]:
    for mapping in mappings:
        options = mapping["options"]
        if mapping["type"] == "value":
            for value, result in options.items():
                yield Word(float(value), float(value), result.get("text", ""), result.get("color", ""))
        elif mapping["type"] == "range":
            least, most = (options.get(end) for end in ("from", "to"))
            result = options["result"]
            yield Word(
                -math.inf if least is None else least,
                math.inf if most is None else most,
                result.get("text", ""),
                result.get("color", ""),
            )
