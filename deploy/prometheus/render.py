"""Renders the rules: `python -m deploy.prometheus.render` writes them, `--check` says whether they are current.

The files are committed, for Prometheus reads them as they are. `--window 15s --out FOLDER` makes a set that fires
within a minute, for tests and drills.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.prometheus.condition import condition
from deploy.prometheus.recordings import recordings
from deploy.prometheus.rule import Alert, Group, Recording
from deploy.prometheus.standstill import standstill
from deploy.prometheus.windows import Windows, parsed
from grafana.panels import RUNBOOK, Need
from pipeline.cli import command, new_app, run
from pipeline.errors import CheckFailed, Exit, Fatal
from pipeline.terminal import say

FOLDER = Path(__file__).parent / "rules"
HEAD = "# Rendered by `make dashboards` from deploy/prometheus/*.py: change those, not this.\n"
GROUPS = (recordings, standstill, condition)


@dataclass(frozen=True, slots=True)
class RuleQuery:
    """A rule's expression; of an alert also the figure that it watches, which has an answer when nothing is wrong."""

    rule: str
    expr: str
    watches: str
    needs: Need


def alerts(windows: Windows | None = None) -> list[Alert]:
    """All alerts, in the order of their files."""
    return [alert for group in GROUPS for alert in group(windows or Windows()).alerts]


def list_queries(windows: Windows | None = None) -> list[RuleQuery]:
    """The expressions of all rules, those that are recorded among them."""
    recorded = [recording for group in GROUPS for recording in group(windows or Windows()).recordings]
    return [
        *(RuleQuery(one.name, one.expr, one.expr, "") for one in recorded),
        *(RuleQuery(one.name, one.expr, one.watches, one.needs) for one in alerts(windows)),
    ]


def files(windows: Windows, runbook: str = RUNBOOK) -> dict[str, str]:
    """The rules' files: names and contents, the same every time."""
    groups = [group(windows) for group in GROUPS]
    return {f"{group.name.removeprefix('cirrostream-')}.yml": _file(group, runbook) for group in groups}


def _file(group: Group, runbook: str) -> str:
    rules = [*map(_recording, group.recordings), *(_alert(alert, runbook) for alert in group.alerts)]
    body = {"groups": [{"name": group.name, "rules": rules}]}
    return HEAD + yaml.dump(body, Dumper=_Lines, sort_keys=False, allow_unicode=True, width=10_000)


def _recording(recording: Recording) -> dict[str, Any]:
    return {"record": recording.name, "expr": recording.expr}


def _alert(alert: Alert, runbook: str) -> dict[str, Any]:
    labels = {"severity": alert.severity} | ({"cause": alert.cause} if alert.cause else {})
    annotations = {
        "summary": alert.summary,
        "description": alert.says,
        "runbook_url": f"{runbook}#{alert.name.lower()}",
    }
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.lasts,
        "labels": labels,
        "annotations": annotations,
    }


class _Lines(yaml.SafeDumper):
    """Writes a text of several lines as one."""


def _as_block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Lines.add_representer(str, _as_block)


def _duration(text: str) -> str:
    if not 1 <= parsed(text) <= 86_400:
        raise ValueError("from 1s to 24h")
    return text


class RulesSettings(BaseSettings):
    """Settings of the rendering."""

    model_config = SettingsConfigDict(env_prefix="CIRROSTREAM_RULES_", extra="ignore", frozen=True)

    out: Path = Field(FOLDER, description="Folder to write the rules' files to.")
    window: Annotated[str, AfterValidator(_duration)] = Field(
        "120s", description="Stand still for so long, and an alert fires; all other times are in proportion."
    )
    runbook_url: str = Field(RUNBOOK, description="Address of docs/runbook.md, for the links in the alerts.")
    check: bool = Field(False, description="Write nothing; exit 1 when what is written is not what the code renders.")


app = new_app("Renders the rules for Prometheus.")


@command(app, RulesSettings)
def rules(settings: RulesSettings) -> int:
    """Renders the recording and alerting rules for Prometheus."""
    for name, text in files(Windows(parsed(settings.window)), settings.runbook_url).items():
        path = settings.out / name
        if not settings.check:
            _write(path, text)
            say(f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}: written")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            raise CheckFailed(f"{path}: not what the code renders; type `make dashboards`, and commit")
    return Exit.DONE


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Fatal(f"{path}: cannot be written: {error.strerror}; another folder: --out") from error


if __name__ == "__main__":
    run(app, "deploy.prometheus.render")
