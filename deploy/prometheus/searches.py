"""Alerts for what users would notice first: searches that find less than they did."""

from __future__ import annotations

from deploy.prometheus.rule import Alert
from deploy.prometheus.windows import Windows

RECALL = 0.9
"""Upkeep aims at 0.95."""
DROP = 0.9
"""Of the best nDCG of the last week."""
WEEK_MINUTES = 7 * 24 * 60
OLD_MINUTES = 3 * 24 * 60
"""A table is measured every night; one failure is no news."""


def searches_worse(windows: Windows) -> tuple[Alert, ...]:
    """An index that misses neighbours, answers that got worse, and a table that nobody measures."""
    name, lasts = "CirrostreamSearchWorse", windows.of(5)
    recall, ndcg = "cirrostream_search_index_recall_ratio", 'cirrostream_search_ndcg_ratio{search="hybrid"}'
    measured = "cirrostream_search_measured_timestamp_seconds"
    return (
        Alert(
            name,
            "ticket",
            f"{recall} < {RECALL}",
            lasts,
            "The vector index misses too many neighbours",
            f"The vector index finds {{{{ $value | humanizePercentage }}}} of the ten nearest rows; {RECALL:.0%} are"
            " the least.",
            recall,
            cause="recall",
            needs="indexed",
        ),
        Alert(
            name,
            "ticket",
            f"{ndcg} < {DROP} * max_over_time({ndcg}[{windows.of(WEEK_MINUTES)}])",
            lasts,
            "Searches find less than within the last week",
            "nDCG@10 of questions made from the table is {{ printf `%.2f` $value }}, less than"
            f" {DROP:.0%} of the best within {windows.of(WEEK_MINUTES)}.",
            ndcg,
            cause="quality",
            needs="measured",
        ),
        Alert(
            name,
            "ticket",
            f"time() - {measured} > {windows.seconds(OLD_MINUTES):g}",
            lasts,
            "Nobody knows how well the table is searched",
            "The table was last measured {{ $value | humanizeDuration }} ago; each measurement since has failed.",
            measured,
            cause="unmeasured",
            needs="measured",
        ),
    )
