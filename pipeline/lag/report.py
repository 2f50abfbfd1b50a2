"""One look, for a person and for a program."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from pipeline.lag.rates import count, duration
from pipeline.lag.view import GroupLag, LagView


def as_table(view: LagView) -> Table:
    """A row a group; `oldest` and `worst` are of all its partitions, `never` is how many it has not committed in."""
    table = Table(title=f"lag at {_iso(view.at)}")
    table.add_column("group, and what it reads", overflow="fold")
    for column in ("lag", "oldest", "worst", "never", "members"):
        table.add_column(column, justify="right", no_wrap=True)
    for group in view.groups:
        table.add_row(Text(group.step.group).append(f"\n{group.step.topic}", style="dim"), *_cells(group))
    return table


def as_json(view: LagView) -> str:
    """All partitions of all groups; null is what is not known. Times are seconds."""
    return json.dumps({"at": _iso(view.at), "groups": [_group(view, group) for group in view.groups]})


def _cells(group: GroupLag) -> list[str]:
    if not group.partitions:
        return ["no topic", "", "", "", count(group.members)]
    worst = max(group.partitions, key=lambda partition: partition.lag)
    never = sum(partition.committed is None for partition in group.partitions)
    return [
        count(group.lag),
        "–" if group.age_s is None else duration(group.age_s),
        f"{worst.partition}: {count(worst.lag)}" if worst.lag else "",
        count(never) if never else "",
        count(group.members),
    ]


def _group(view: LagView, group: GroupLag) -> dict[str, Any]:
    log = view.topics[group.step.topic]
    return {
        "stage": group.step.stage,
        "topic": group.step.topic,
        "group": group.step.group,
        "topic_exists": log is not None,
        "members": group.members,
        "lag_records": group.lag if log is not None else None,
        "lag_seconds": _rounded(group.age_s),
        "partitions": [
            {
                "partition": at.partition,
                "log_start": log.starts[at.partition] if log is not None else None,
                "log_end": log.ends[at.partition] if log is not None else None,
                "committed": at.committed,
                "lag_records": at.lag,
                "lag_seconds": _rounded(at.age_s),
            }
            for at in group.partitions
        ],
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None or not math.isfinite(seconds) else round(seconds, 3)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
