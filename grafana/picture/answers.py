"""What a Prometheus answers to the queries of a panel."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from grafana.picture.panels import Panel, Query
from grafana.queries import fill
from pipeline.errors import TryAgain, UsageError, one_line

POINTS = 240
LARGEST_ANSWER = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Series:
    """One line: times in Unix seconds, and a value for each."""

    name: str
    query: Query
    labels: dict[str, str]
    times: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def last(self) -> float:
        return self.values[-1]

    @property
    def peak(self) -> float:
        return max((value for value in self.values if math.isfinite(value)), default=-math.inf)


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A stretch of time at one address."""

    address: str
    start: float
    end: float
    window_s: float = 60.0
    """What stands for Grafana's $__rate_interval: rates look back so far."""

    def series(self, panel: Panel) -> list[Series]:
        """All lines of a panel, in the order of its queries."""
        return [series for query in panel.queries for series in self._answer(query)]

    def _answer(self, query: Query) -> Iterator[Series]:
        step = max(1.0, (self.end - self.start) / POINTS)
        window = f"{max(self.window_s, 4 * step):.0f}s"
        expression = fill(query.expression, window, f"{self.end - self.start:.0f}s")
        asked: dict[str, str | float] = {"query": expression, "start": self.start, "end": self.end, "step": step}
        for result in self._ask("query_range", asked):
            times, values = zip(*((float(at), float(value)) for at, value in result["values"]), strict=True)
            labels = {key: value for key, value in result["metric"].items() if key != "__name__"}
            yield Series(_name(query.legend, labels), query, labels, times, values)

    def _ask(self, what: str, asked: dict[str, str | float]) -> list[dict]:  # type: ignore[type-arg]
        url = f"{self.address.rstrip('/')}/api/v1/{what}"
        try:
            with httpx.stream("POST", url, data=asked, timeout=30) as answer:
                body = b""
                for part in answer.iter_bytes():
                    body += part
                    if len(body) > LARGEST_ANSWER:
                        raise UsageError(f"{self.address} answers with more than {LARGEST_ANSWER >> 20} MiB")
            found = json.loads(body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TryAgain(f"{self.address} does not answer: {one_line(error)}") from None
        except ValueError:
            raise UsageError(f"{self.address} is no Prometheus: it does not answer with JSON") from None
        if found.get("status") != "success":
            raise UsageError(f"{self.address} refuses {asked['query']}: {found.get('error', 'no reason given')}")
        return list(found["data"]["result"])


def current(series: list[Series]) -> list[Series]:
    """Those that have a value at the end of the time, as what shows single numbers has."""
    newest = max((one.times[-1] for one in series), default=0.0)
    return [one for one in series if one.times[-1] == newest]


def _name(legend: str, labels: dict[str, str]) -> str:
    """The legend as Grafana writes it."""
    if legend in ("", "__auto"):
        return ", ".join(labels.values()) or "value"
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), legend)
