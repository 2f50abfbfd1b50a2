"""The alerts of `deploy/prometheus/rules` as PrometheusRule objects, for clusters with the Prometheus Operator.

Their content is the files' own, indented: one place to edit, and promtool tests what Kubernetes gets.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

from pipeline.errors import UsageError

FOLDER = Path(__file__).parents[1] / "prometheus" / "rules"

RULE = """\
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: cirrostream-{name}
spec:
{content}"""


def rules_yaml(folder: Path = FOLDER) -> str:
    """A PrometheusRule for each file of rules.

    Raises:
        UsageError: there is none.
    """
    files = sorted(folder.glob("*.yml"))
    if not files:
        raise UsageError(f"{folder}: no rules (*.yml) here")
    return "".join(RULE.format(name=file.stem.replace("_", "-"), content=_content(file)) for file in files)


def _content(file: Path) -> str:
    return indent(file.read_text(encoding="utf-8").removeprefix("---\n").rstrip("\n") + "\n", "  ")
