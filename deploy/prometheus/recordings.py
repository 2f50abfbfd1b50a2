"""Recorded expressions, asked for often or over months: a chart of a year costs as little as one of an hour."""

from __future__ import annotations

from deploy.prometheus.rule import Group, Recording
from deploy.prometheus.windows import Windows
from grafana.queries import error_share, finished, lag, quantile, time_left


def recordings(windows: Windows) -> Group:
    """All of them, named level:metric:operation."""
    rate, long = windows.of(2), windows.of(5)
    return Group(
        "cirrostream-recordings",
        recordings=(
            Recording("stage:cirrostream_records:rate", finished(rate, "stage")),
            Recording("replica:cirrostream_records:rate", finished(rate, "job, instance, stage")),
            Recording("stage:cirrostream_lag_records:sum", lag("stage_of, group")),
            Recording("stage:cirrostream_lag_seconds:max", "max by (stage_of, group) (cirrostream_lag_seconds)"),
            Recording("pipeline:cirrostream_time_left_seconds:max", f"max({time_left()})"),
            Recording("stage:cirrostream_errors:share", error_share(long, "stage")),
            Recording("stage_step:cirrostream_step_seconds:p99", quantile(0.99, "step_seconds", long, "stage, step")),
        ),
    )
