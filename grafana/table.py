"""The dashboard *Table*: what is in it, what shape it is in, and what writing, searching and upkeep cost."""

from __future__ import annotations

from grafana.panels import Board, Choice, Level, Panel, Query, Row
from grafana.queries import (
    GROUP,
    RATE,
    UNINDEXED_ROWS,
    finished,
    or_none,
    quantile,
    rate,
    share_of_time,
    spread,
)

LANCE = 'stage="lance"'
HERE = 'stage="lance",instance=~"$replica"'
LANCE_GROUP = f'stage_of="lance",{GROUP}'
UPKEEP = "btree|optimize|index|search_index|sweep|gauges|backfill"
"""Steps of upkeep; the search that is timed once a minute is shown by itself."""

WORDS_SINCE = f"cirrostream_table_unindexed_text_since_timestamp_seconds{{{HERE}}}"


def _gauge(name: str, by: str = "instance") -> str:
    return f"max by ({by}) (cirrostream_{name}{{{HERE}}})"


ROWS = _gauge("table_rows")
ALL_ROWS = f"clamp_min({ROWS} + {_gauge('table_dead_rows')}, 1)"

NOW = Row(
    "Now",
    (
        Panel(
            "Rows",
            "Live rows: chunks that a search can find. Measured once a minute while the table changes.",
            "short",
            (Query(ROWS),),
            "what-shape-the-table-is-in",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Size",
            "Bytes of the newest version's rows, without indexes. Old versions and indexes come on top: keep twice as"
            " much free.",
            "bytes",
            (Query(_gauge("table_bytes")),),
            "cirrostreamdisklow",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Behind",
            "Age of the oldest vector that is not in the table yet.",
            "s",
            (Query(f"max(cirrostream_lag_seconds{{{LANCE_GROUP}}})"),),
            "how-far-behind-it-is",
            kind="stat",
            width=4,
            height=4,
            levels=(Level(300, "yellow"), Level(3_600, "red")),
        ),
        Panel(
            "Fragments",
            "Files that every read opens. An optimize is due at 300; above 1,000 upkeep is behind and reads are slow.",
            "short",
            (Query(_gauge("table_fragments")),),
            "cirrostreamupkeepbehind",
            kind="stat",
            width=4,
            height=4,
            levels=(Level(400, "yellow"), Level(1_000, "red")),
            decimals=0,
        ),
        Panel(
            "Rows without index",
            "Rows that a vector search compares one by one. Below 400,000 nobody notices.",
            "short",
            (Query(_gauge("table_unindexed_rows")),),
            "cirrostreamupkeepbehind",
            kind="stat",
            width=4,
            height=4,
            levels=(Level(400_000, "yellow"), Level(2_000_000, "red")),
        ),
        Panel(
            "A search takes",
            "p90 of a search that the writer asks of the table once a minute, over the time shown. Indexes and"
            " fragments decide it.",
            "s",
            (Query(quantile(0.9, "step_seconds", "$__range", "", HERE, 'step="search"')),),
            "what-shape-the-table-is-in",
            kind="stat",
            width=4,
            height=4,
            levels=(Level(0.2, "yellow"), Level(1, "red")),
        ),
    ),
)

SHAPE = Row(
    "Shape",
    (
        Panel(
            "Rows, live and dead",
            "Dead rows mark replaced and deleted chunks, so that an old message cannot bring them back. Upkeep removes"
            " all but one a page.",
            "short",
            (
                Query(ROWS, "live"),
                Query(_gauge("table_dead_rows"), "dead"),
                Query(_gauge("table_unindexed_rows"), "without index"),
            ),
            "what-shape-the-table-is-in",
            width=12,
        ),
        Panel(
            "Dead rows, and rows without index",
            "As shares of all rows; a few without an index count as none. More than three quarters without one: upkeep"
            " fails, or has no time, see 'Later' below.",
            "percentunit",
            (
                Query(f"{_gauge('table_dead_rows')} / {ALL_ROWS}", "dead"),
                Query(
                    f"{_gauge('table_unindexed_rows')} / {ALL_ROWS}"
                    f" * ({_gauge('table_unindexed_rows')} > bool {UNINDEXED_ROWS})",
                    "without index",
                ),
            ),
            "cirrostreamupkeepbehind",
            width=12,
            levels=(Level(0.75, "red"),),
            most=1,
        ),
        Panel(
            "Words wait",
            "Age of the oldest row that a full-text index does not have: its vector finds it, its words do not. A"
            " minute while little comes, up to a quarter of an hour in a load.",
            "s",
            (
                Query(
                    f"max by (instance) (time() - ({WORDS_SINCE} > 0) or 0 * {WORDS_SINCE})",
                    "oldest row",
                ),
            ),
            "cirrostreamupkeepbehind",
            width=12,
            levels=(Level(1_200, "red"),),
        ),
        Panel(
            "Rows that words do not find",
            "Rows that a full-text index does not have yet. Saw teeth: each optimize brings the indexes up to date.",
            "short",
            (Query(_gauge("table_unindexed_text_rows"), "rows"),),
            "cirrostreamupkeepbehind",
            width=12,
        ),
        Panel(
            "Fragments of the table",
            "Each merge leaves one, an optimize joins them: saw teeth. A line that climbs past 1,000 is an optimize"
            " that fails.",
            "short",
            (Query(_gauge("table_fragments"), "fragments"),),
            "cirrostreamupkeepbehind",
            levels=(Level(1_000, "red"),),
        ),
        Panel(
            "Versions",
            "Kept for an hour, so that readers and conflict checks find them; then an optimize removes them, but for"
            " those that a reader, such as sinks.verify, has a lease on.",
            "short",
            (Query(_gauge("table_versions"), "versions"), Query(_gauge("table_leases"), "leases")),
            "what-shape-the-table-is-in",
        ),
        Panel(
            "Bytes a row",
            "Vector, text and the rest. It jumps when the vector type or the windows have changed.",
            "bytes",
            (Query(f"{_gauge('table_bytes')} / {ALL_ROWS}", "bytes a row"),),
            "what-shape-the-table-is-in",
        ),
    ),
)

WRITING = Row(
    "Writing",
    (
        Panel(
            "Rows a second",
            "Rows written. One writer does 30,000 to 40,000 a second on a local disk; there is no second one to add.",
            "cps",
            (Query(rate("chunks", RATE, "stage", HERE), "rows"),),
            "how-fast-it-goes",
        ),
        Panel(
            "Pages a second, new and stale",
            "Stale pages are dropped, for the table has a newer version: after a restart or a replay that is as it"
            " should be.",
            "cps",
            (Query(finished(RATE, "event", HERE), "{{event}}"),),
            "how-fast-it-goes",
        ),
        Panel(
            "Rows in a merge",
            "Small merges under load: batches are cut by time. Raise --batch-seconds, or look why little arrives.",
            "short",
            (
                Query(
                    f"{rate('chunks', RATE, 'stage', HERE)} / (sum by (stage)"
                    f' (rate(cirrostream_step_seconds_count{{{HERE},step="write"}}[{RATE}])) > 0)',
                    "rows in a merge",
                ),
            ),
            "how-fast-it-goes",
        ),
        Panel(
            "A write takes",
            "p50 and p99 of a merge, from the look-up to the fence read again. It grows with the fragments and with the"
            " age of the BTREE; on object storage with every request.",
            "s",
            (
                Query(quantile(0.5, "step_seconds", RATE, "", HERE, 'step="write"'), "p50"),
                Query(quantile(0.99, "step_seconds", RATE, "", HERE, 'step="write"'), "p99"),
            ),
            "what-shape-the-table-is-in",
            levels=(Level(30, "red"),),
        ),
        Panel(
            "How long writes take",
            "How many merges took how long. A second band above the first: merges that wait for the disk.",
            "s",
            (Query(spread("step_seconds", RATE, HERE, 'step="write"')),),
            "what-shape-the-table-is-in",
            kind="heat",
            least=None,
        ),
        Panel(
            "A commit takes",
            "p50 and p99 of telling Kafka what is in the table. Seconds: the brokers are under strain.",
            "s",
            (
                Query(quantile(0.5, "step_seconds", RATE, "", HERE, 'step="commit"'), "p50"),
                Query(quantile(0.99, "step_seconds", RATE, "", HERE, 'step="commit"'), "p99"),
            ),
            "how-fast-it-goes",
            levels=(Level(5, "red"),),
        ),
        Panel(
            "Where the writer's second goes",
            "write and upkeep together near 1: the writer is at its limit. Mostly fetch: it waits for vectors.",
            "percentunit",
            (Query(share_of_time(RATE, "step", HERE), "{{step}}"),),
            "how-fast-it-goes",
            width=12,
            stacked=True,
        ),
        Panel(
            "Searches of the writer",
            "p50 and p99 of the search that the writer asks once a minute. People's searches run in other processes;"
            " they see the same fragments and indexes.",
            "s",
            (
                Query(quantile(0.5, "step_seconds", "15m", "", HERE, 'step="search"'), "p50"),
                Query(quantile(0.99, "step_seconds", "15m", "", HERE, 'step="search"'), "p99"),
            ),
            "what-shape-the-table-is-in",
            width=12,
            levels=(Level(1, "red"),),
        ),
    ),
)

SEARCHES = Row(
    "Searches",
    (
        Panel(
            "What the vector index finds",
            "Recall@10 against an exact search, on vectors of the table, as of the last measurement. Upkeep aims at"
            " 0.95.",
            "percentunit",
            (Query(_gauge("search_index_recall_ratio"), "recall@10", needs="indexed"),),
            "cirrostreamsearchworse",
            width=6,
            levels=(Level(0, "red"), Level(0.9, "green")),
            most=1,
        ),
        Panel(
            "How good answers are",
            "nDCG@10 of questions made from the table's own pages, by mode. They use the pages' words, which flatters"
            " the text leg: watch for changes, not for which line is on top.",
            "percentunit",
            (
                Query(
                    f'max by (search) (cirrostream_search_ndcg_ratio{{{HERE},search!~".*/.*"}})',
                    "{{search}}",
                    needs="measured",
                ),
            ),
            "cirrostreamsearchworse",
            width=6,
            most=1,
        ),
        Panel(
            "Pages found, by kind of question",
            "Share of the questions whose page is among the first ten hits of a hybrid search: by title, by title with"
            " one wrong letter, by a sentence of the page.",
            "percentunit",
            (
                Query(
                    f'max by (search) (cirrostream_search_recall_ratio{{{HERE},search=~"hybrid/.*"}})',
                    "{{search}}",
                    needs="measured",
                ),
            ),
            "cirrostreamsearchworse",
            width=6,
            most=1,
        ),
        Panel(
            "Measured",
            "How long ago, and how many measurements of the last day came to nothing. One a day is due, and one"
            " whenever the table has grown by a quarter.",
            "s",
            (
                Query(f"time() - {_gauge('search_measured_timestamp_seconds')}", "ago", needs="measured"),
                Query(
                    f'sum by (event) (increase(cirrostream_measurements_total{{{HERE},event!="done"}}[1d]))',
                    "{{event}}",
                ),
            ),
            "cirrostreamsearchworse",
            width=6,
            levels=(Level(259_200, "red"),),
        ),
    ),
)

UPKEEPING = Row(
    "Upkeep",
    (
        Panel(
            "An upkeep step takes",
            "Mean duration since the writer started. Nothing is written meanwhile; a step of minutes is why lag has"
            " teeth.",
            "s",
            (
                Query(
                    f'sum by (step) (cirrostream_step_seconds_sum{{{HERE},step=~"{UPKEEP}"}})'
                    f' / sum by (step) (cirrostream_step_seconds_count{{{HERE},step=~"{UPKEEP}"}})',
                    "{{step}}",
                ),
            ),
            "cirrostreamupkeepbehind",
            kind="bars",
            width=6,
            levels=(Level(60, "yellow"), Level(600, "orange")),
        ),
        Panel(
            "Due for",
            "How long a step has been due without success; 0: it is not. Above half an hour it fails or has no time.",
            "s",
            (
                Query(
                    f"max by (step) (time() - (cirrostream_upkeep_due_since_timestamp_seconds{{{HERE}}} > 0)"
                    f" or 0 * cirrostream_upkeep_due_since_timestamp_seconds{{{HERE}}})",
                    "{{step}}",
                ),
            ),
            "cirrostreamupkeepbehind",
            width=6,
            levels=(Level(1_800, "red"),),
        ),
        Panel(
            "Last success",
            "How long ago a step last succeeded. Steps are done when they are due, not by the clock.",
            "s",
            (
                Query(
                    f"max by (step) (time() - (cirrostream_upkeep_last_success_timestamp_seconds{{{HERE}}} > 0))",
                    "{{step}}",
                ),
            ),
            "cirrostreamupkeepbehind",
            kind="bars",
            width=6,
        ),
        Panel(
            "Later",
            "Steps and calls that failed and wait for another try, a minute. A conflict now and then is normal; the"
            " same step again and again is what to read the sink's log for.",
            "cpm",
            (Query(or_none(f"60 * {rate('retries', RATE, 'call', HERE)}", "call"), "{{call}}"),),
            "cirrostreamupkeepbehind",
            width=6,
        ),
    ),
)

BOARD = Board(
    "cirrostream-table",
    "Cirrostream / Table",
    "The vector table: what is in it, what shape it is in, and what writing, searching and upkeep cost.",
    (NOW, SHAPE, SEARCHES, WRITING, UPKEEPING),
    (
        Choice("group", "Group", 'label_values(cirrostream_lag_records{stage_of="lance"}, group)'),
        Choice("replica", "Replica", f"label_values(cirrostream_loop_idle_seconds{{{LANCE}}}, instance)"),
    ),
)
