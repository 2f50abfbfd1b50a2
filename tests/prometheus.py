"""Asking a Prometheus what it has, as a panel does."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class Asked:
    """A Prometheus; `since` is when what is of interest began, in Unix time."""

    address: str
    since: float

    def get(self, path: str, **asked: object) -> Any:
        """The `data` of an answer; fails the test with the reason when the question is refused."""
        given = {key: str(value) for key, value in asked.items()}
        url = f"{self.address}/api/v1/{path}"
        answer = httpx.post(url, data=given, timeout=20) if asked else httpx.get(url, timeout=20)
        found = answer.json()
        assert found["status"] == "success", f"{asked}: {found}"
        return found["data"]

    def answers(self) -> bool:
        """Whether it has started."""
        try:
            return httpx.get(f"{self.address}/-/ready", timeout=2).is_success
        except httpx.TransportError:
            return False

    def now(self, expression: str) -> dict[str, float]:
        """The values at this moment, by instance."""
        found = self.get("query", query=expression)["result"]
        return {series["metric"].get("instance", ""): float(series["value"][1]) for series in found}

    def has(self, expression: str) -> bool:
        """Whether there has been a number since; NaN is none."""
        found = self.get("query_range", query=expression, start=self.since, end=time.time(), step=2)["result"]
        return any(not math.isnan(float(value)) for series in found for _, value in series["values"])

    def firing(self) -> set[tuple[str, str]]:
        """Names of the alerts that fire, and of whom."""
        alerts = self.get("alerts")["alerts"]
        return {(a["labels"]["alertname"], a["labels"].get("instance", "")) for a in alerts if a["state"] == "firing"}
