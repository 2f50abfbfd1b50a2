"""A rule: an alert with all that the person who is called needs, or an expression that is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from grafana.panels import Need

Severity = Literal["page", "ticket"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One condition, and what to say when it holds.

    Args:
        severity: page: pages wait and nothing is done about it, wake somebody; ticket: it can wait for the morning.
        expr: true for as long as something is wrong.
        lasts: how long it must have been true.
        says: one line with the numbers; `{{ $value }}` and `{{ $labels.stage }}` as in Prometheus.
        watches: the figure behind the condition, without its threshold: it has an answer when all is well, too.
        cause: tells rules of one name apart.
    """

    name: str
    severity: Severity
    expr: str
    lasts: str
    summary: str
    says: str
    watches: str
    cause: str = ""
    needs: Need = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """An expression that Prometheus works out at every evaluation, under a name of its own."""

    name: str
    expr: str


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other."""

    name: str
    alerts: tuple[Alert, ...] = ()
    recordings: tuple[Recording, ...] = ()
