"""The metrics that there are, as a scrape names them, and the headings of the run book."""

from __future__ import annotations

import re

from pipeline.lag.metrics import LAG_METRICS
from tests import ROOT

DOCS = ROOT / "docs"
ROW = re.compile(r"^\| `(cirrostream_[a-z_]+)` \| (counter|gauge|histogram) \|", re.MULTILINE)
OF_PROMETHEUS_AND_ITS_CLIENT = {
    "up",
    "ALERTS",
    "process_start_time_seconds",
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
}
NAME = re.compile(r"(?<![\w:.$])[a-zA-Z_:][\w:]*")
WORDS_OF_PROMQL = re.compile(
    r"sum|max|min|avg|count|by|on|or|and|unless|offset|group_left|quantile|topk|bottomk|rate|increase|changes|time|bool"
    r"|vector|absent|label_replace|histogram_quantile|predict_linear|clamp_min|clamp_max|avg_over_time|max_over_time|last_over_time"
)


def metrics() -> set[str]:
    """Of docs/metrics.md, which tests compare with the code, and of the exporter of the lag."""
    found = OF_PROMETHEUS_AND_ITS_CLIENT | {declared.name for declared in LAG_METRICS}
    for name, kind in ROW.findall((DOCS / "metrics.md").read_text()):
        found |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return found


def read_by(expression: str) -> set[str]:
    """The metrics that an expression reads."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|on|group_left)\s*\([^)]*\)", "", bare)
    return {name for name in NAME.findall(re.sub(r"\{[^}]*\}", "", bare)) if not WORDS_OF_PROMQL.fullmatch(name)}


def runbook_sections() -> set[str]:
    """The headings of docs/runbook.md, as links name them."""
    headings = re.findall(r"^#+ (.+)$", (DOCS / "runbook.md").read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
