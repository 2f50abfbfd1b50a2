"""The panels that show a course of time: lines, heat maps and states."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from grafana.picture.answers import Series
from grafana.picture.cards import CHARACTERS_AN_INCH, COLOURS, LINE_IN, TEXT, Card, short
from grafana.picture.units import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SERIES = 12
LONGEST_NAME = 34
LEFT_IN, RIGHT_IN, BELOW_IN = 0.72, 0.18, 0.3


def draw_lines(card: Card, series: list[Series]) -> None:
    """One line each, with a legend below."""
    series = _largest(series)
    names = [short(one.name, LONGEST_NAME) for one in series]
    columns = max(1, int(card.w * CHARACTERS_AN_INCH / (max(map(len, names)) + 5)))
    legend = LINE_IN * math.ceil(len(series) / columns) + 0.03
    axes = _plot(card, legend)
    for one, name in zip(series, names, strict=True):
        minutes = card.minutes(one.times)
        finite = [value if math.isfinite(value) else math.nan for value in one.values]
        axes.plot(minutes, finite, linewidth=1.2, label=name, marker="." if len(finite) < 3 else "")
        if card.panel.stacked:
            axes.fill_between(minutes, finite, alpha=0.12)
    if card.panel.logarithmic and any(one.peak > 0 for one in series):
        axes.set_yscale("log")
    elif all(value >= 0 for one in series for value in one.values if math.isfinite(value)):
        axes.set_ylim(bottom=0)
    _dress(axes, card)
    height = card.h - legend - BELOW_IN - 2 * LINE_IN
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(-0.6 / (card.w - LEFT_IN - RIGHT_IN), -0.25 / max(0.1, height)),
        ncols=columns,
        fontsize=7,
        frameon=False,
        borderaxespad=0,
        borderpad=0,
        labelspacing=0.3,
        handlelength=1,
        columnspacing=1,
    )


def draw_heat(card: Card, series: list[Series]) -> None:
    """How many observations a bucket has; a histogram's are cumulative, so each is less the one below it."""
    ladder = sorted(series, key=lambda one: float(one.labels.get("le", "inf")))
    times = sorted({at for one in ladder for at in one.times})
    below = dict.fromkeys(times, 0.0)
    cells = []
    for one in ladder:
        counts = dict(zip(one.times, one.values, strict=True))
        cells.append([max(0.0, counts.get(at, below[at]) - below[at]) or math.nan for at in times])
        below = {at: counts.get(at, below[at]) for at in times}
    axes = _plot(card)
    axes.pcolormesh(card.minutes(times), range(len(ladder)), cells, cmap="Oranges", vmin=0)
    _dress(axes, card)
    marks = list(range(0, len(ladder), max(1, len(ladder) // 6)))
    bounds = [float(ladder[mark].labels.get("le", "inf")) for mark in marks]
    axes.set_yticks(marks, [shown(bound, card.panel.unit) for bound in bounds])


def draw_states(card: Card, series: list[Series]) -> None:
    """A bar for each, in the colour of its state."""
    series = series[: max(1, int((card.h - BELOW_IN - 3 * LINE_IN) / 0.18))]
    axes = _plot(card)
    for place, one in enumerate(reversed(series)):
        minutes = card.minutes(one.times)
        step = min((after - before for before, after in pairwise(minutes)), default=1.0)
        colours = [COLOURS.get(card.panel.colour_of(value), "#cccccc") for value in one.values]
        axes.broken_barh([(at, step * 1.02) for at in minutes], (place - 0.38, 0.76), facecolors=colours)
    _dress(axes, card)
    axes.set_yticks(range(len(series)), [short(one.name, 12) for one in reversed(series)])
    words = [word for word in card.panel.words if word.text]
    for place, word in enumerate(words):
        colour = COLOURS.get(word.colour, TEXT)
        card.write(card.w - 0.1 - 0.8 * place, card.h - LINE_IN, word.text, size=7, align="right", colour=colour)


def _plot(card: Card, legend: float = 0.0) -> Axes:
    bottom = legend + BELOW_IN
    return card.axes(LEFT_IN, bottom, card.w - LEFT_IN - RIGHT_IN, card.h - bottom - 2 * LINE_IN)


def _dress(axes: Axes, card: Card) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#bbbbbb")
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.tick_params(labelsize=7, length=2, colors="#555555")
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, card.panel.unit)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(*card.minutes((card.start, card.end)))
    axes.xaxis.set_major_locator(MaxNLocator(max(2, card.panel.w // 2)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} min"))


def _largest(series: list[Series]) -> list[Series]:
    """Those that a person looks at first, in their own order."""
    if len(series) <= MOST_SERIES:
        return series
    least = sorted((one.peak for one in series), reverse=True)[MOST_SERIES - 1]
    return [one for one in series if one.peak >= least][:MOST_SERIES]
