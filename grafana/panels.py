"""A panel, before Grafana: its question, its queries, the meaning of the answer and what to do about it.

Every panel says its unit, has a description for somebody who has never seen it, and leads to a section of the run book.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["lines", "stat", "bars", "heat", "states", "table"]
Need = Literal["", "gpu", "floor", "deadline", "measured", "indexed"]

NEEDS: dict[Need, str] = {
    "gpu": "a process on a machine with an NVIDIA GPU",
    "floor": "the exporter of the lag was told a least rate",
    "deadline": "the exporter of the lag was told when all must be done",
    "measured": "the writer had the time to measure how well its table is searched",
    "indexed": "the table has its vector index, from 100,000 rows on",
}
"""Why a sound run can leave a query without an answer."""

RUNBOOK = "https://github.com/cirrostream/cirrostream/blob/main/docs/runbook.md"
"""Where people read the run book. Elsewhere: the dashboards' variable `runbook`, and `--runbook-url` for the rules."""


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression; `legend` names its series, or its column in a table, which may have a unit of its own."""

    expr: str
    legend: str = "__auto"
    needs: Need = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Level:
    """A colour of the answer, from `value` on."""

    value: float
    color: Literal["green", "yellow", "orange", "red"]


@dataclass(frozen=True, slots=True)
class State:
    """A number that stands for a word."""

    value: int
    text: str
    color: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One question and its answer.

    Args:
        means: what it shows, and what to do when it looks wrong.
        unit: one of Grafana's unit ids.
        runbook: the heading of the section in docs/runbook.md, as a link names it.
        levels: colours, the lowest first; below the first one it is `base`.
    """

    title: str
    means: str
    unit: str
    queries: tuple[Query, ...]
    runbook: str
    kind: Kind = "lines"
    width: int = 8
    height: int = 8
    levels: tuple[Level, ...] = ()
    base: Literal["green", "orange", "red"] = "green"
    states: tuple[State, ...] = ()
    least: float | None = 0
    most: float | None = None
    decimals: int | None = None
    stacked: bool = False
    logarithmic: bool = False
    never: str = ""
    """The text in place of ten years and more."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """A variable: what a reader may choose from, several at once or all."""

    name: str
    label: str
    query: str


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard. Its uid is part of every link to it: never change one."""

    uid: str
    title: str
    means: str
    rows: tuple[Row, ...]
    choices: tuple[Choice, ...] = field(default_factory=tuple)

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels, in reading order."""
        return tuple(panel for row in self.rows for panel in row.panels)
