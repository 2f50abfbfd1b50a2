"""Alerts for what will stop the work, or already costs some: processes, errors, disks, upkeep, and not knowing."""

from __future__ import annotations

from deploy.prometheus.rule import Alert, Group
from deploy.prometheus.searches import searches_worse
from deploy.prometheus.windows import Windows
from grafana.queries import STAGES, UNINDEXED_ROWS, error_share, growth, unknown_share
from pipeline.metrics import FORGED

ERROR_SHARE = 0.05
UNKNOWN_SHARE = 0.05
"""With MiniLM English has 0.002 % unknown characters, Arabic 2 %, Hindi 15 %, Thai 95 % (docs/models.md)."""
RESTARTS = 3
WATCHDOG_SHARE = 0.5
DISK_TICKET, DISK_PAGE, DISK_FILLING = 0.15, 0.05, 0.4
FRAGMENTS = 1_000
"""An optimize is due at 300 merges (sinks/upkeep/rules.py)."""
WORDS_MINUTES = 20
"""An optimize brings the full-text indexes up to date 15 minutes after the last at the latest, and takes some more."""
UNINDEXED_SHARE = 0.75
"""An optimize brings the index up to date when the table has grown by half."""

FREE = "cirrostream_disk_free_bytes / cirrostream_disk_size_bytes"
FREE_SAYS = (
    "{{ $labels.instance }} ({{ $labels.stage }}) has {{ $value | humanizePercentage }} of its data folder's disk left,"
    ' {{ with printf `cirrostream_disk_free_bytes{instance="%s"}` $labels.instance | query }}'
    "{{ . | first | value | humanize1024 }}B{{ end }}."
)


def condition(windows: Windows) -> Group:
    """All of them."""
    return Group(
        "cirrostream-condition",
        (
            _replica_down(windows),
            _replica_restarting(windows),
            _error_rate_high(windows),
            _dead_letters_growing(windows),
            _records_forged(windows),
            _text_unknown(windows),
            _watchdog_old(windows),
            *_disk_low(windows),
            *_upkeep_behind(windows),
            *_trimming_held(windows),
            *searches_worse(windows),
            *_lag_unknown(windows),
        ),
    )


def _replica_down(windows: Windows) -> Alert:
    down = f"up{{{STAGES}}} == 0"
    # No label of `up` says which stage a target was; the newest of its own metrics does.
    was = f"max by (job, instance, stage) (last_over_time(cirrostream_last_turn_timestamp_seconds[{windows.of(60)}]))"
    return Alert(
        "CirrostreamReplicaDown",
        "ticket",
        f"({down}) + on (job, instance) group_left (stage) 0 * topk by (job, instance) (1, {was})\n"
        f"or on (job, instance) {down}",
        windows.of(1),
        "{{ $labels.instance }}{{ with $labels.stage }} ({{ . }}){{ end }} does not answer",
        f"Prometheus has not reached {{{{ $labels.instance }}}} for {windows.of(1)}: the process is dead, stopped, or"
        " cut off.",
        f"up{{{STAGES}}}",
        cause="unreachable",
    )


def _replica_restarting(windows: Windows) -> Alert:
    starts = f"changes(process_start_time_seconds{{{STAGES}}}[{windows.of(10)}])"
    return Alert(
        "CirrostreamReplicaDown",
        "ticket",
        f"{starts} >= {RESTARTS}",
        windows.of(0.5),
        "{{ $labels.instance }} ({{ $labels.stage }}) ends and is started again and again",
        f"{{{{ $labels.instance }}}} has been started {{{{ $value }}}} times in {windows.of(10)}.",
        starts,
        cause="restarting",
    )


def _error_rate_high(windows: Windows) -> Alert:
    share = error_share(windows.of(5), "stage")
    return Alert(
        "CirrostreamErrorRateHigh",
        "page",
        f"{share} > {ERROR_SHARE}",
        windows.of(5),
        "{{ $labels.stage }} fails too often",
        "{{ $value | humanizePercentage }} of what {{ $labels.stage }} finishes has to be tried again or becomes a dead"
        f" letter; {ERROR_SHARE:.0%} are allowed.",
        f"sum by (stage) (rate(cirrostream_records_total[{windows.of(5)}]))",
    )


def _dead_letters_growing(windows: Windows) -> Alert:
    grown = growth("dead_letters", windows.of(15), "stage, reason")
    return Alert(
        "CirrostreamDeadLettersGrowing",
        "ticket",
        f"{grown} > 0",
        "0s",
        "{{ $labels.stage }} cannot process some pages: {{ $labels.reason }}",
        f"Dead letters of {{{{ $labels.stage }}}} within {windows.of(15)}, because of {{{{ $labels.reason }}}}:"
        " about {{ $value | humanize }}.",
        grown,
    )


def _records_forged(windows: Windows) -> Alert:
    reasons = "|".join(sorted(FORGED))
    grown = growth("dead_letters", windows.of(15), "stage, reason", f'reason=~"{reasons}"')
    return Alert(
        "CirrostreamRecordsForged",
        "page",
        f"{grown} > 0",
        "0s",
        "No process of this pipeline wrote what {{ $labels.stage }} has read: {{ $labels.reason }}",
        f"Within {windows.of(15)} {{{{ $labels.stage }}}} refused about {{{{ $value | humanize }}}} records, because of"
        " {{ $labels.reason }}. They are in the dead letters and have changed nothing.",
        grown,
    )


def _text_unknown(windows: Windows) -> Alert:
    share = unknown_share(windows.of(30), "stage", 'stage="chunk"')
    return Alert(
        "CirrostreamTextUnknown",
        "ticket",
        f"{share} > {UNKNOWN_SHARE}",
        windows.of(5),
        "The model does not know much of the text",
        f"{{{{ $value | humanizePercentage }}}} of the characters chunked within {windows.of(30)} are not in the"
        f" model's vocabulary; {UNKNOWN_SHARE:.0%} are allowed.",
        share,
    )


def _watchdog_old(windows: Windows) -> Alert:
    share = "cirrostream_loop_idle_seconds / cirrostream_watchdog_limit_seconds"
    return Alert(
        "CirrostreamWatchdogOld",
        "ticket",
        # A stage that loads its model does not turn, and says so by being young.
        f"{share} > {WATCHDOG_SHARE}\n"
        f"unless on (job, instance) time() - process_start_time_seconds < {windows.seconds(5):g}",
        windows.of(0.25),
        "The loop of {{ $labels.instance }} ({{ $labels.stage }}) does not turn",
        "{{ $labels.instance }} has waited in one turn of its loop for {{ $value | humanizePercentage }} of the time"
        " after which its watchdog ends it.",
        share,
    )


def _disk_low(windows: Windows) -> tuple[Alert, ...]:
    filling = f"predict_linear(cirrostream_disk_free_bytes[{windows.of(60)}], {windows.seconds(240):g}) < 0"
    name, summary = "CirrostreamDiskLow", "The disk of {{ $labels.instance }} ({{ $labels.stage }}) is filling up"
    return (
        Alert(name, "page", f"{FREE} < {DISK_PAGE}", windows.of(1), summary, FREE_SAYS, FREE, cause="nearly-full"),
        Alert(name, "ticket", f"{FREE} < {DISK_TICKET}", windows.of(5), summary, FREE_SAYS, FREE, cause="low"),
        Alert(
            name,
            "ticket",
            f"{FREE} < {DISK_FILLING}\nand {filling}",
            windows.of(15),
            summary,
            f"{FREE_SAYS} At the pace of the last {windows.of(60)} it is full within {windows.of(240)}.",
            FREE,
            cause="filling",
        ),
    )


def _upkeep_behind(windows: Windows) -> tuple[Alert, ...]:
    since = "cirrostream_upkeep_due_since_timestamp_seconds"
    waiting = "cirrostream_table_unindexed_text_since_timestamp_seconds"
    name, lasts = "CirrostreamUpkeepBehind", windows.of(5)
    return (
        Alert(
            name,
            "ticket",
            f"time() - ({since} > 0) > {windows.seconds(30):g}",
            lasts,
            "Upkeep of the table: {{ $labels.step }} does not get done",
            "{{ $labels.step }} has been due for {{ $value | humanizeDuration }} and has not succeeded.",
            since,
            cause="due",
        ),
        Alert(
            name,
            "ticket",
            f"cirrostream_table_fragments > {FRAGMENTS}",
            lasts,
            "The table has too many fragments",
            f"The table has {{{{ $value | humanize }}}} fragments, and every read opens all of them; {FRAGMENTS} are"
            " allowed.",
            "cirrostream_table_fragments",
            cause="fragments",
        ),
        Alert(
            name,
            "ticket",
            f"cirrostream_table_unindexed_rows > {UNINDEXED_ROWS}\n"
            f"and cirrostream_table_unindexed_rows > {UNINDEXED_SHARE} * cirrostream_table_rows",
            lasts,
            "Most of the table is not in its vector index",
            "A search compares {{ $value | humanize }} rows one by one, of"
            ' {{ with printf `max(cirrostream_table_rows{instance="%s"})` $labels.instance | query }}'
            "{{ . | first | value | humanize }}{{ end }}.",
            "cirrostream_table_unindexed_rows",
            cause="unindexed",
        ),
        Alert(
            name,
            "ticket",
            f"time() - ({waiting} > 0) > {windows.seconds(WORDS_MINUTES):g}",
            lasts,
            "Words do not find what has come into the table",
            "The oldest row that a full-text index does not have has waited for {{ $value | humanizeDuration }};"
            f" {WORDS_MINUTES} minutes are allowed.",
            waiting,
            cause="words",
        ),
    )


def _trimming_held(windows: Windows) -> tuple[Alert, ...]:
    kept, name = "cirrostream_trim_kept_records", "CirrostreamTrimmingHeld"
    return (
        Alert(
            name,
            "ticket",
            # A second reader that catches up keeps less and less; one that is gone or stands keeps ever more.
            f"({kept} > 0) >= {kept} offset {windows.of(30)}",
            windows.of(30),
            "Group {{ $labels.group }} keeps Kafka from deleting what all others have read",
            "{{ $value | humanize }} records stay in Kafka for group {{ $labels.group }} alone, and it does not come"
            " nearer: Kafka's disks fill.",
            kept,
            cause="group",
        ),
        Alert(
            name,
            "ticket",
            "cirrostream_trim_allowed == 0",
            windows.of(5),
            "The sink may not delete what is done with from {{ $labels.topic }}",
            f"Kafka has refused {{{{ $labels.instance }}}} for {windows.of(5)} to trim {{{{ $labels.topic }}}}: Kafka's"
            " disks fill.",
            "cirrostream_trim_allowed",
            cause="forbidden",
        ),
    )


def _lag_unknown(windows: Windows) -> tuple[Alert, ...]:
    refreshed = "cirrostream_lag_refreshed_timestamp_seconds"
    name, age = "CirrostreamLagUnknown", f"time() - max({refreshed})"
    return (
        Alert(
            name,
            "page",
            f"absent({refreshed})",
            windows.of(2),
            "Nobody knows how far behind the pipeline is",
            f"There has been no lag exporter for {windows.of(2)}: most of the other alerts cannot fire.",
            refreshed,
            cause="absent",
        ),
        Alert(
            name,
            "page",
            f"{age} > {windows.seconds(2):g}",
            windows.of(0.5),
            "Nobody knows how far behind the pipeline is",
            "The lag exporter runs, but has had no answer from Kafka for {{ $value | humanizeDuration }}: most of the"
            " other alerts cannot fire.",
            age,
            cause="old",
        ),
    )
