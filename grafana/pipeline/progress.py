"""Panels on speed, lag and the time left."""

from __future__ import annotations

from grafana.panels import Level, Panel, Query, Row
from grafana.queries import (
    GROUP,
    HERE,
    MOST_LINES,
    RANGE,
    RATE,
    STAGES,
    drain,
    finished,
    growth,
    lag,
    or_zero,
    progress,
    time_left,
)

LATE = (Level(300, "yellow"), Level(3_600, "red"))
LANCE = 'stage="lance"'
FIRING = 'ALERTS{alertname=~"Cirrostream.*",alertstate="firing"}'

NOW = Row(
    "Now",
    (
        Panel(
            "Into the table",
            "Pages a second that the last stage has written, replicas together. 0 while pages wait below means that"
            " nothing arrives: look at 'Pages a second, by stage' for the first stage that stands still.",
            "cps",
            (Query(or_zero(f"sum({finished(RATE, 'stage', LANCE)})")),),
            "how-fast-it-goes",
            kind="stat",
            width=3,
            height=4,
        ),
        Panel(
            "Done in",
            "Time until the table has every page that is in Kafka now, at the rate of the last five minutes. Pages that"
            " the producer has not read yet are not in it. 'never' means that pages wait and none gets through.",
            "s",
            (Query(f"max({time_left(GROUP)})"),),
            "cirrostreamdeadlinemissed",
            kind="stat",
            width=3,
            height=4,
            levels=(Level(86_400, "yellow"), Level(604_800, "orange")),
            never="never",
        ),
        Panel(
            "Pages waiting",
            "All pages that some stage has still to do, a page that waits for two stages counted once: it is in one"
            " topic at a time. Says so even when every consumer is dead.",
            "short",
            (Query(f"sum({lag('stage_of', GROUP)})"),),
            "how-far-behind-it-is",
            kind="stat",
            width=3,
            height=4,
        ),
        Panel(
            "Oldest page waiting",
            "Age of the oldest record that a stage has not committed past: how stale the table is. While a dump is read"
            " it grows with the backlog; in live operation more than five minutes needs a look.",
            "s",
            (Query(f"max(cirrostream_lag_seconds{{{GROUP}}})"),),
            "how-far-behind-it-is",
            kind="stat",
            width=3,
            height=4,
            levels=LATE,
        ),
        Panel(
            "Replicas up",
            "Processes that Prometheus reaches, the exporter of the lag not counted.",
            "short",
            (Query(or_zero(f"sum(up{{{STAGES}}})")),),
            "cirrostreamreplicadown",
            kind="stat",
            width=3,
            height=4,
            base="red",
            levels=(Level(1, "green"),),
            decimals=0,
        ),
        Panel(
            "Replicas down",
            "Processes that Prometheus should reach and does not. Their partitions go to the others in the meantime;"
            " look at the end of their log.",
            "short",
            (Query(or_zero(f"count(up{{{STAGES}}} == 0)")),),
            "cirrostreamreplicadown",
            kind="stat",
            width=3,
            height=4,
            levels=(Level(1, "red"),),
            decimals=0,
        ),
        Panel(
            "Dead letters",
            "Pages that could not be processed, in the time shown. None is lost: they wait in the topic of dead"
            " letters. Look at the reasons below, mend the cause, and replay them.",
            "short",
            (Query(or_zero(f"sum({growth('dead_letters', RANGE, 'stage')})")),),
            "cirrostreamdeadlettersgrowing",
            kind="stat",
            width=3,
            height=4,
            levels=(Level(0.5, "orange"), Level(100, "red")),
            decimals=0,
        ),
        Panel(
            "Alerts firing",
            "Rules of this pipeline that fire at this moment; each has a section in the run book. They are marked on"
            " the charts below as well.",
            "short",
            (Query(or_zero(f"count({FIRING})")),),
            "the-alerts",
            kind="stat",
            width=3,
            height=4,
            levels=(Level(1, "red"),),
        ),
    ),
)

FLOW = Row(
    "Flow",
    (
        Panel(
            "Pages a second, by stage",
            "All stages on one axis and in one unit, for a page is one message in every topic. In balance the lines lie"
            " on each other. The first stage that lies below the one before it is where replicas are missing.",
            "cps",
            (
                Query(finished(RATE, "stage", HERE), "{{stage}}"),
                Query("max(cirrostream_rate_floor_records_per_second)", "floor", needs="floor"),
            ),
            "how-fast-it-goes",
            width=16,
            height=10,
        ),
        Panel(
            "Done with",
            "Share of the records ever written to its topic that a stage is done with. A replay sets it back.",
            "percentunit",
            (Query(progress(GROUP), "{{stage_of}} {{topic}}"),),
            "how-far-behind-it-is",
            kind="bars",
            height=5,
            base="orange",
            levels=(Level(0.999, "green"),),
            most=1,
        ),
        Panel(
            "Work in hand, by stage",
            "Time until a stage has worked off what waits for it now, at its rate of the last five minutes; the stages"
            " after it come on top. 'never': pages wait and none is done.",
            "s",
            (Query(drain(GROUP), "{{stage_of}} {{group}}"),),
            "how-far-behind-it-is",
            kind="bars",
            height=5,
            levels=(Level(86_400, "yellow"),),
            never="never",
        ),
    ),
)

LAG = Row(
    "Lag",
    (
        Panel(
            "Pages waiting, by stage",
            "End of the topic minus what the group has committed. It grows before a stage that is too slow, and falls"
            " to 0 at the end of a dump. A line that is flat and not 0 is a stage that stands still.",
            "short",
            (Query(lag("stage_of, group", GROUP), "{{stage_of}} {{group}}"),),
            "how-far-behind-it-is",
            width=6,
        ),
        Panel(
            "Oldest page waiting, by stage",
            "Age of the oldest record that the group has not committed past. A line that climbs by a second a second"
            " stands still.",
            "s",
            (
                Query(
                    f"max by (stage_of, group) (cirrostream_lag_seconds{{{GROUP}}})",
                    "{{stage_of}} {{group}}",
                ),
            ),
            "how-far-behind-it-is",
            width=6,
            levels=LATE,
        ),
        Panel(
            "Members of each group",
            "Consumers that Kafka counts in a group. 0 while pages wait: nobody works on them.",
            "short",
            (
                Query(
                    f"max by (stage_of, group) (cirrostream_group_members{{{GROUP}}})",
                    "{{stage_of}} {{group}}",
                ),
            ),
            "cirrostreamnoconsumers",
            width=6,
            decimals=0,
        ),
        Panel(
            "Age of these figures",
            "Time since the exporter of the lag last asked Kafka. When it grows, every lag and every time on this page"
            " is old: the exporter is down, or does not reach Kafka.",
            "s",
            (Query("time() - max(cirrostream_lag_refreshed_timestamp_seconds)", "age"),),
            "cirrostreamlagunknown",
            width=6,
            levels=(Level(120, "red"),),
        ),
        Panel(
            "Pages waiting, by partition",
            f"The {MOST_LINES} longest queues. Partitions of a stage should rise and fall together; one that goes its"
            " own way has a page that is worked on again and again, or an owner that stands still.",
            "short",
            (
                Query(
                    f"topk({MOST_LINES}, sum by (stage_of, group, partition) (cirrostream_lag_records{{{GROUP}}}))",
                    "{{stage_of}} {{partition}}",
                ),
            ),
            "cirrostreampartitionstuck",
            width=12,
        ),
        Panel(
            "Standstill, by partition",
            f"Time since a partition's committed offset last moved while pages waited in it, the {MOST_LINES} longest."
            " Saw teeth are batches. Above two minutes the partition is stuck.",
            "s",
            (
                Query(
                    f"topk({MOST_LINES}, max by (stage_of, group, partition)"
                    f" (cirrostream_partition_stalled_seconds{{{GROUP}}}))",
                    "{{stage_of}} {{partition}}",
                ),
            ),
            "cirrostreampartitionstuck",
            width=12,
            levels=(Level(120, "red"),),
        ),
    ),
)
