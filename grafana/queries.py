"""The expressions that dashboards and alerts share, so that both mean the same by "rate", "lag" or "progress".

Nothing but text is made here: the rules of Prometheus are rendered without Grafana's packages.
"""

from __future__ import annotations

import re

RATE = "$__rate_interval"
"""Grafana's window for a rate: as wide as a pixel, and never less than four scrapes."""
RANGE = "$__range"
"""All of the time that the dashboard shows."""

STAGES = 'job="cirrostream"'
"""All of our processes but the exporter of the lag."""
HERE = 'stage=~"$stage",instance=~"$replica"'
"""The choice of a dashboard's variables."""
GROUP = 'group=~"$group"'

FINISHED = "done|produced|sent|deleted|stale"
"""Fates of a page that a stage is done with. Not `changes`: a change that the live stage has looked at need not
lead to a page."""
MOST_LINES = 24
"""A chart of more lines says nothing; the worst ones are kept."""
UNINDEXED_ROWS = 400_000
"""To compare 100,000 one by one takes up to 0.1 s (sinks/upkeep/rules.py): a small table without index is no fault."""
NEVER_S = 315_360_000
"""Ten years stand for "never": panels show infinity as nothing at all."""


def matching(*matchers: str) -> str:
    """Matchers in braces; nothing when there is none."""
    given = ",".join(matcher for matcher in matchers if matcher)
    return f"{{{given}}}" if given else ""


def rate(metric: str, window: str, by: str, *where: str) -> str:
    """A counter's growth in a second, summed by these labels."""
    return f"sum by ({by}) (rate(cirrostream_{metric}_total{matching(*where)}[{window}]))"


def finished(window: str, by: str, *where: str) -> str:
    """Pages a second: the one unit that all stages have in common, for a page is one message in every topic.

    The exporter of the lag has the counter of every process, and finishes no page.
    """
    return rate("records", window, by, f'event=~"{FINISHED}"', 'stage!="lag"', *where)


def growth(metric: str, window: str, by: str, *where: str) -> str:
    """The growth of a counter in this window. It is a fraction, for Prometheus estimates the window's edges."""
    return f"sum by ({by}) (increase(cirrostream_{metric}_total{matching(*where)}[{window}]))"


def quantile(q: float, histogram: str, window: str, by: str, *where: str) -> str:
    """A quantile over all replicas together; `by` is what to tell apart, or empty."""
    labels = ", ".join(filter(None, ("le", by)))
    return (
        f"histogram_quantile({q}, sum by ({labels}) (rate(cirrostream_{histogram}_bucket{matching(*where)}[{window}])))"
    )


def spread(histogram: str, window: str, *where: str) -> str:
    """The number of observations in each bucket, for a heat map."""
    return f"sum by (le) (increase(cirrostream_{histogram}_bucket{matching(*where)}[{window}]))"


def share_of_time(window: str, by: str, *where: str) -> str:
    """The part of a replica's second that goes into each step. `by` has `step` in it, or `where` names one step."""
    replicas = ", ".join(label for label in re.split(r",\s*", by) if label != "step")
    seconds_spent = f"sum by ({by}) (rate(cirrostream_step_seconds_sum{matching(*where)}[{window}]))"
    # Counted by what a replica always has: one that has not begun a step yet would be left out of the average.
    kept = tuple(matcher for matcher in where if not matcher.startswith("step"))
    return (
        f"{seconds_spent} / on ({replicas}) group_left () "
        f"count by ({replicas}) (cirrostream_loop_idle_seconds{matching(*kept)})"
    )


def or_none(expression: str, label: str) -> str:
    """A flat line at 0 that says "none" where nothing has been counted yet: an empty panel looks like a fault."""
    return f'{expression} or on () label_replace(vector(0), "{label}", "none", "", "")'


def or_zero(expression: str) -> str:
    """0 instead of nothing."""
    return f"{expression} or vector(0)"


def lag(by: str, *where: str) -> str:
    """Pages that wait. Only the exporter of the lag says so: it goes on when the consumers are dead."""
    return f"sum by ({by}) (cirrostream_lag_records{matching(*where)})"


def remaining(*where: str) -> str:
    """Seconds until the last stage has everything that any stage still has to do, at the last stage's rate.

    A stage's own time is too short while a slower one comes after it: the chunker is through long before its pages
    have been embedded. Ten years when nothing moves, no answer when nothing waits.
    """
    last = matching('stage_of="lance"', *where)
    through = f"sum by (job, instance) (cirrostream_group_rate{last})"
    return f"clamp_max(({lag('job, instance', *where)} > 0) / {through}, {NEVER_S})"


def time_left(*where: str) -> str:
    """`remaining`, and 0 when nothing waits."""
    return f"{remaining(*where)} or {lag('job, instance', *where)} == 0"


def drain(*where: str) -> str:
    """Seconds until a stage has worked off what waits for it now."""
    return f"clamp_max(max by (stage_of, group) (cirrostream_drain_seconds{matching(*where)}), {NEVER_S})"


def progress(*where: str) -> str:
    """The share of all records ever written to its topic that a group is done with; trimmed ones are done."""
    written = "sum by (topic) (max by (topic, partition) (cirrostream_log_end_offset)) > 0"
    return f"1 - {lag('stage_of, group, topic', *where)} / on (topic) group_left () ({written})"


def error_share(window: str, by: str, *where: str) -> str:
    """Retries and dead letters for each page that was finished.

    Of a stage that does less than a page a second it is their number a second: one retry a minute of an idle stage
    is no error rate of infinity.
    """
    chosen = matching(*where)
    events = " or ".join(f"rate(cirrostream_{name}_total{chosen}[{window}])" for name in ("retries", "dead_letters"))
    return f"sum by ({by}) ({events}) / clamp_min({finished(window, by, *where)}, 1)"


def unknown_share(window: str, by: str, *where: str) -> str:
    """Characters that the model's vocabulary lacks, of all that became tokens."""
    characters = f"clamp_min({rate('characters', window, by, *where)}, 1)"
    return f"{rate('unknown_characters', window, by, *where)} / {characters}"


def fill(expression: str, window: str = "1m", shown: str = "1h") -> str:
    """The expression as Grafana sends it, with every variable on "All"."""
    filled = expression.replace(RATE, window).replace(RANGE, shown)
    return re.sub(r"\$(group|stage|replica)\b", ".+", filled)
