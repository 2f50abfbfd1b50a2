"""Alerts for work that does not get done: a stage, a partition or a replica that is stuck, too slow, or not there."""

from __future__ import annotations

from deploy.prometheus.rule import Alert, Group
from deploy.prometheus.windows import Windows
from grafana.queries import growth, lag, remaining, time_left

BY_STAGE = "on (stage_of, group)"
PASSED_RECORDS = 20_000
"""A group whose fetcher goes round its partitions takes at most so many records (1 MiB a partition) before it is back:
a partition that has waited for more has been passed over."""
LEAST_WORK_S = 60
"""A rate can be blamed only on a stage that has a minute of work before it; else the stage before it is slow."""

STALLED = "cirrostream_partition_stalled_seconds"
WAITING = (
    '{{ with printf `sum(cirrostream_lag_records{group="%s"})` $labels.group | query }}'
    "{{ . | first | value | humanize }}{{ end }}"
)


def standstill(windows: Windows) -> Group:
    """All of them."""
    return Group(
        "cirrostream-standstill",
        (
            _stage_stuck(windows),
            _partition_stuck(windows),
            _replica_stuck(windows),
            _rate_below_floor(windows),
            _deadline_missed(windows),
            _no_consumers(windows),
        ),
    )


def _stage_stuck(windows: Windows) -> Alert:
    stuck = windows.seconds(2)
    return Alert(
        "CirrostreamStageStuck",
        "page",
        f"max by (stage_of, group) ({STALLED}) > {stuck:g}\n"
        f"unless on (group) sum by (group) (changes(cirrostream_committed_offset[{windows.of(2)}])) > 0\n"
        f"{_unless_excused(windows)}",
        windows.of(0.5),
        "{{ $labels.stage_of }} does nothing though pages wait",
        f"Group {{{{ $labels.group }}}} has committed nothing for {{{{ $value | humanizeDuration }}}}, and {WAITING}"
        " pages wait for it.",
        f"max by (stage_of, group) ({STALLED})",
    )


def _unless_excused(windows: Windows) -> str:
    """A member that has just come is not stuck, nor is the writer while a step of upkeep takes its time."""
    members = f"avg_over_time(cirrostream_group_members[{windows.of(2)}])"
    upkeep = f"max by (stage) (time() - (cirrostream_upkeep_due_since_timestamp_seconds > 0)) < {windows.seconds(15):g}"
    return (
        f"unless {BY_STAGE} max by (stage_of, group) ({members}) < 0.5\n"
        f'unless on (stage_of) label_replace({upkeep}, "stage_of", "$1", "stage", "(.*)")'
    )


def _partition_stuck(windows: Windows) -> Alert:
    passed = f"{STALLED} * {BY_STAGE} group_left () max by (stage_of, group) (cirrostream_group_rate)"
    return Alert(
        "CirrostreamPartitionStuck",
        "ticket",
        f"max by (stage_of, group, topic, partition) (\n"
        f"  {STALLED} > {windows.seconds(2):g}\n"
        f"  and ({passed} > {PASSED_RECORDS} or {STALLED} > {windows.seconds(10):g})\n"
        f")\n{_unless_excused(windows)}",
        windows.of(0.5),
        "{{ $labels.topic }}-{{ $labels.partition }} stands still while its stage goes on",
        "Group {{ $labels.group }} has committed nothing in {{ $labels.topic }}-{{ $labels.partition }} for"
        " {{ $value | humanizeDuration }}, though pages wait there.",
        STALLED,
    )


def _replica_stuck(windows: Windows) -> Alert:
    window = windows.of(2)
    stalled = (
        f'label_replace(max by (stage_of) ({STALLED}) > {windows.seconds(2):g}, "stage", "$1", "stage_of", "(.*)")'
    )
    return Alert(
        "CirrostreamReplicaStuck",
        "ticket",
        # It was here a window ago: one that has just started has not had the time.
        f"(cirrostream_assigned_partitions > 0 and cirrostream_assigned_partitions offset {window} > 0)\n"
        f"unless on (job, instance, stage) {growth('records', window, 'job, instance, stage')} > 0\n"
        f"and on (stage) {growth('records', window, 'stage')} > 0\n"
        # A replica without anything to do is idle, not stuck; then no partition of its stage stands still.
        f"and on (stage) {stalled}",
        windows.of(0.5),
        "{{ $labels.instance }} ({{ $labels.stage }}) does nothing while others of its stage work",
        "{{ $labels.instance }} has {{ $value }} partitions of {{ $labels.stage }} and has finished no page for"
        f" {window}, and pages wait in a partition that stands still.",
        "cirrostream_assigned_partitions",
    )


def _rate_below_floor(windows: Windows) -> Alert:
    floor, same = "cirrostream_rate_floor_records_per_second", "on (job, instance) group_left ()"
    return Alert(
        "CirrostreamRateBelowFloor",
        "page",
        f"max by (job, instance, stage_of, group) (cirrostream_group_rate) < {same} {floor}\n"
        f"and on (job, instance, stage_of, group)\n"
        f"  {lag('job, instance, stage_of, group')} > {same} ({LEAST_WORK_S} * {floor})",
        windows.of(10),
        "{{ $labels.stage_of }} is slower than agreed",
        "Group {{ $labels.group }} does {{ $value | humanize }} records a second, replicas together; the floor is"
        " {{ with query `max(cirrostream_rate_floor_records_per_second)` }}{{ . | first | value | humanize }}{{ end }},"
        f" and {WAITING} pages wait for it.",
        "cirrostream_group_rate",
        needs="floor",
    )


def _deadline_missed(windows: Windows) -> Alert:
    return Alert(
        "CirrostreamDeadlineMissed",
        "page",
        f"{remaining()}\n> on (job, instance) (cirrostream_deadline_timestamp_seconds - time())",
        windows.of(10),
        "The table will not be complete at the deadline",
        "At the last stage's rate of the last five minutes the backlog takes another"
        " {{ if ge $value 3e8 }}eternity (nothing moves){{ else }}{{ $value | humanizeDuration }}{{ end }}; the"
        " deadline is {{ with query `min(cirrostream_deadline_timestamp_seconds) - time()` }}"
        "{{ . | first | value | humanizeDuration }}{{ end }} away.",
        time_left(),
        needs="deadline",
    )


def _no_consumers(windows: Windows) -> Alert:
    return Alert(
        "CirrostreamNoConsumers",
        "page",
        f"max by (stage_of, group) (cirrostream_group_members) == 0\nand {BY_STAGE} {lag('stage_of, group')} > 0",
        # A node with a GPU takes up to ten to come.
        windows.of(15),
        "Nobody works for {{ $labels.stage_of }} though pages wait",
        f"Group {{{{ $labels.group }}}} has had no member for {windows.of(15)}, and {WAITING} pages wait for it.",
        "cirrostream_group_members",
    )
