"""Panels on the replicas' condition, on errors and on costs."""

from __future__ import annotations

from grafana.panels import Level, Panel, Query, Row, State
from grafana.queries import (
    HERE,
    MOST_LINES,
    RATE,
    STAGES,
    error_share,
    finished,
    growth,
    or_none,
    quantile,
    rate,
    share_of_time,
    unknown_share,
)

REPLICA_RATE = finished(RATE, "stage, instance", HERE)
AT_WORK = f"({REPLICA_RATE} unless on (stage, instance) cirrostream_assigned_partitions{{{HERE}}} == 0)"
"""Without spares: a replica that has been given nothing is not slow."""
MEDIAN_RATE = f"quantile by (stage) (0.5, {AT_WORK})"

REPLICAS = Row(
    "Replicas",
    (
        Panel(
            "Replicas, one by one",
            "Each replica at this moment. Sort by a column: the slowest has the least share of its stage's median, one"
            " that hangs has an old loop, a spare has no partitions.",
            "short",
            (
                Query(REPLICA_RATE, "pages/s", unit="cps"),
                Query(f"{REPLICA_RATE} / on (stage) group_left () {MEDIAN_RATE}", "of median", unit="percentunit"),
                Query(f"sum by (stage, instance) (cirrostream_assigned_partitions{{{HERE}}})", "partitions"),
                Query(f"max by (stage, instance) (cirrostream_loop_idle_seconds{{{HERE}}})", "loop idle", unit="s"),
                Query(f"max by (stage, instance) (cirrostream_ready{{{HERE}}})", "ready"),
                Query(f"max by (stage, instance) (time() - process_start_time_seconds{{{HERE}}})", "age", unit="s"),
                Query(f"max by (stage, instance) (process_resident_memory_bytes{{{HERE}}})", "memory", unit="bytes"),
            ),
            "cirrostreamreplicastuck",
            kind="table",
            width=16,
            height=9,
        ),
        Panel(
            "Up, starting, down",
            "Green: works. Yellow: runs, but is not ready: it loads a model, waits for partitions, or is a spare. Red:"
            " Prometheus does not reach it: dead, stopped or cut off.",
            "short",
            (
                Query(
                    f"max by (instance) (cirrostream_ready{{{HERE}}})"
                    f' or on (instance) max by (instance) (up{{{STAGES},instance=~"$replica"}} - 1)',
                    "{{instance}}",
                ),
            ),
            "cirrostreamreplicadown",
            kind="states",
            height=9,
            states=(State(1, "ready", "green"), State(0, "not ready", "yellow"), State(-1, "down", "red")),
            least=None,
        ),
        Panel(
            "Slowest replica, against the median of its stage",
            "1 when all replicas of a stage are alike. Below a half one of them holds partitions that others would work"
            " off sooner: a slower machine, a neighbour that takes the CPU, or a fault.",
            "percentunit",
            (Query(f"min by (stage) {AT_WORK} / {MEDIAN_RATE}", "{{stage}}"),),
            "cirrostreamreplicastuck",
            base="red",
            levels=(Level(0.5, "green"),),
            most=1,
        ),
        Panel(
            "Pages a second, by replica",
            f"The {MOST_LINES} slowest replicas. One that lies at 0 while its stage goes on is stuck.",
            "cps",
            (Query(f"bottomk({MOST_LINES}, {REPLICA_RATE})", "{{instance}} {{stage}}"),),
            "cirrostreamreplicastuck",
        ),
        Panel(
            "Age of the watchdog",
            "How long ago a replica's loop last turned, as a share of the time after which it ends itself. Above a half"
            " it waits for something that does not come: a disk, a GPU, a broker.",
            "percentunit",
            (
                Query(
                    f"topk({MOST_LINES}, max by (stage, instance)"
                    f" (cirrostream_loop_idle_seconds{{{HERE}}} / cirrostream_watchdog_limit_seconds{{{HERE}}}))",
                    "{{instance}} {{stage}}",
                ),
            ),
            "cirrostreamwatchdogold",
            levels=(Level(0.5, "orange"), Level(1, "red")),
            most=1,
        ),
    ),
)

TROUBLE = Row(
    "Trouble",
    (
        Panel(
            "Dead letters, by reason",
            "Pages a minute that could not be processed. `python -m pipeline.dead_letters list` names them; after 100"
            " in a row, or 1 %, the stage stops by itself.",
            "cpm",
            (
                Query(
                    or_none(f"60 * {rate('dead_letters', RATE, 'stage, reason', HERE)} > 0", "reason"),
                    "{{stage}} {{reason}}",
                ),
            ),
            "cirrostreamdeadlettersgrowing",
        ),
        Panel(
            "Left out on purpose, by reason",
            "Documents that a rule or a setting keeps out: redirects, other namespaces, unchanged pages. No fault;"
            " a reason that is new or suddenly larger than the rest is worth a look.",
            "cps",
            (Query(or_none(rate("drops", RATE, "stage, reason", HERE), "reason"), "{{stage}} {{reason}}"),),
            "left-out-on-purpose",
        ),
        Panel(
            "Tried again, by call",
            "Calls a minute that failed and were repeated. A few around a restart or a rebalance are normal; a"
            " steady line is a broker, a disk or a server that is not well.",
            "cpm",
            (Query(or_none(f"60 * {rate('retries', RATE, 'stage, call', HERE)}", "call"), "{{stage}} {{call}}"),),
            "cirrostreamerrorratehigh",
        ),
        Panel(
            "Errors for each page",
            "Retries and dead letters for each page that was finished. Above 5 % for five minutes it is an alert.",
            "percentunit",
            (Query(or_none(error_share(RATE, "stage", HERE), "stage"), "{{stage}}"),),
            "cirrostreamerrorratehigh",
            levels=(Level(0.05, "red"),),
        ),
        Panel(
            "Text that the model cannot read",
            "Share of the characters that became the token for what the vocabulary lacks: texts of a script that the"
            " model does not know all get the same vector. A little is rare characters; above 5 % it is an alert.",
            "percentunit",
            (Query(unknown_share(RATE, "stage", 'stage="chunk"', 'instance=~"$replica"'), "{{stage}}"),),
            "cirrostreamtextunknown",
            levels=(Level(0.05, "red"),),
        ),
        Panel(
            "Rebalances, and producers rebuilt",
            "How often partitions moved between replicas, and how often a Kafka producer was replaced because it had"
            " stopped sending, in each window. More than one for each replica that comes or goes: sessions expire.",
            "short",
            (
                Query(growth("rebalances", RATE, "stage", HERE), "rebalances {{stage}}"),
                Query(growth("producer_rebuilds", RATE, "stage", HERE), "rebuilt {{stage}}"),
            ),
            "rebalances-and-rebuilt-producers",
        ),
        Panel(
            "Room on the disk",
            "Free share of the file system with the data folder, where it is least. Below 15 % make room before Kafka"
            " or the table stop.",
            "percentunit",
            (
                Query(
                    "min by (stage) (cirrostream_disk_free_bytes{" + HERE + "}"
                    " / cirrostream_disk_size_bytes{" + HERE + "})",
                    "{{stage}}",
                ),
            ),
            "cirrostreamdisklow",
            base="red",
            levels=(Level(0.05, "orange"), Level(0.15, "green")),
            most=1,
        ),
    ),
)

TIME = Row(
    "Time and resources",
    (
        Panel(
            "Where a second goes",
            "Share of a replica's time in each step, on average. The longest step of the slowest stage is what to make"
            " faster; a stage that mostly fetches waits for the one before it. Steps inside others count twice.",
            "percentunit",
            (Query(share_of_time(RATE, "stage, step", HERE), "{{stage}} {{step}}"),),
            "how-fast-it-goes",
            width=12,
        ),
        Panel(
            "The slowest of a hundred, by step",
            "p99 of each step's duration. A commit or an acknowledgement of seconds is a broker under strain; a write"
            " of seconds the table's storage.",
            "s",
            (Query(quantile(0.99, "step_seconds", RATE, "stage, step", HERE), "{{stage}} {{step}}"),),
            "how-fast-it-goes",
            width=12,
            logarithmic=True,
            least=None,
        ),
        Panel(
            "Bytes in and out, by stage",
            "What a stage has read and what it has safely handed on. The sum over stages is what Kafka's disks and"
            " network must bear, times the replicas of the topics.",
            "Bps",
            (Query(rate("bytes", RATE, "stage, direction", HERE), "{{stage}} {{direction}}"),),
            "how-fast-it-goes",
        ),
        Panel(
            "Memory, by replica",
            f"Resident memory of the {MOST_LINES} largest processes. A line that only climbs ends at the container's"
            " limit: the process is killed and starts again, with its work in hand done twice.",
            "bytes",
            (
                Query(
                    f"topk({MOST_LINES}, max by (stage, instance) (process_resident_memory_bytes{{{HERE}}}))",
                    "{{instance}} {{stage}}",
                ),
            ),
            "cirrostreamreplicadown",
        ),
        Panel(
            "CPUs, by replica",
            f"CPUs that a process keeps busy, the {MOST_LINES} busiest. A chunker at 1 does what it can: add replicas.",
            "short",
            (
                Query(
                    f"topk({MOST_LINES}, sum by (stage, instance) (rate(process_cpu_seconds_total{{{HERE}}}[{RATE}])))",
                    "{{instance}} {{stage}}",
                ),
            ),
            "how-fast-it-goes",
        ),
    ),
)
