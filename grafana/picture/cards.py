"""A panel's frame, and the panels that show numbers as text: single figures, bars and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from grafana.picture.answers import Series, current
from grafana.picture.panels import Panel
from grafana.picture.units import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 24
"""Grafana's grid."""
WIDTH_IN, ROW_IN, LINE_IN = 15.0, 0.34, 0.17
COLOURS = {"green": "#2e8b57", "yellow": "#d4a017", "orange": "#d9822b", "red": "#c0392b", "blue": "#2f6fb0"}
TEXT, FAINT, RULE = "#222222", "#888888", "#d8d9da"
CHARACTERS_AN_INCH = 14


class Card:
    """One panel's rectangle; all places inside are in inches from its lower left corner.

    `start` and `end` are those of the whole picture, so that all panels have one axis of time.
    """

    def __init__(self, figure: Figure, panel: Panel, rows: int, *, start: float, end: float) -> None:
        self._figure, self.panel, self.start, self.end = figure, panel, start, end
        self._height_in = rows * ROW_IN
        self._left = panel.x / COLUMNS * WIDTH_IN + 0.03
        self._bottom = self._height_in - (panel.y + panel.h + 1) * ROW_IN + 0.03
        self.w, self.h = panel.w / COLUMNS * WIDTH_IN - 0.06, panel.h * ROW_IN - 0.06
        self.face = self.axes(0, 0, self.w, self.h)
        self.face.set(xticks=[], yticks=[], facecolor="white", xlim=(0, self.w), ylim=(0, self.h))
        self.face.spines[:].set_color(RULE)
        title = short(panel.title, int(self.w * CHARACTERS_AN_INCH))
        self.write(0.1, self.h - LINE_IN, title, size=9, weight="bold")

    def axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """A plot in this part of the card."""
        x, y = (self._left + left) / WIDTH_IN, (self._bottom + bottom) / self._height_in
        return self._figure.add_axes((x, y, width / WIDTH_IN, max(0.1, height) / self._height_in))

    def minutes(self, times: Iterable[float]) -> list[float]:
        return [(at - self.start) / 60 for at in times]

    def write(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 8,
        align: str = "left",
        colour: str = TEXT,
        weight: str = "normal",
    ) -> None:
        self.face.text(x, y, text, size=size, ha=align, va="center", color=colour, weight=weight)

    def says(self, value: float, unit: str = "") -> tuple[str, str]:
        """A number as text, and its colour."""
        word = self.panel.word_for(value)
        text = word.text if word is not None else shown(value, unit or self.panel.unit)
        return text, COLOURS.get(self.panel.colour_of(value), TEXT)


def draw_nothing(card: Card) -> None:
    card.write(card.w / 2, card.h / 2 - 0.1, "no data", size=9, align="center", colour=FAINT)


def draw_figures(card: Card, series: list[Series]) -> None:
    """One large number, or a line for each."""
    figures = current(series)
    if len(figures) == 1:
        text, colour = card.says(figures[0].last)
        card.write(card.w / 2, card.h / 2 - 0.1, text, size=min(20, 17 * card.h), align="center", colour=colour)
        return
    for place, one in enumerate(figures[: _room(card)]):
        text, colour = card.says(one.last)
        y = card.h - (place + 2.5) * LINE_IN
        card.write(card.w - 0.1, y, text, align="right", colour=colour)
        card.write(0.1, y, short(one.name, int(card.w * CHARACTERS_AN_INCH) - len(text) - 2))


def draw_table(card: Card, series: list[Series]) -> None:
    """A row for each set of labels, a column for each label and each query."""
    figures = current(series)
    labels = list(dict.fromkeys(label for one in figures for label in one.labels))
    columns = list(dict.fromkeys(one.query.legend for one in figures))
    rows: dict[tuple[str, ...], dict[str, tuple[str, str]]] = {}
    for one in figures:
        row = rows.setdefault(tuple(one.labels.get(label, "") for label in labels), {})
        row[one.query.legend] = card.says(one.last, one.query.unit)
    width = (card.w - 0.2) / (len(labels) + len(columns))
    fits = int(width * CHARACTERS_AN_INCH)
    for place, title in enumerate([*labels, *columns]):
        card.write(0.1 + place * width, card.h - 2.5 * LINE_IN, short(title, fits), colour=FAINT)
    for number, (named, cells) in enumerate(sorted(rows.items())[: _room(card) - 1]):
        y = card.h - (number + 3.8) * LINE_IN
        texts = [*((name, TEXT) for name in named), *(cells.get(column, ("", TEXT)) for column in columns)]
        for place, (text, _) in enumerate(texts):
            card.write(0.1 + place * width, y, short(text, fits))


def _room(card: Card) -> int:
    return max(1, int((card.h - 2 * LINE_IN) / LINE_IN))


def short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(1, most - 1)] + "…"


Drawing = Callable[[Card, list[Series]], None]
