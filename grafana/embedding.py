"""The dashboard *Embedding*: what the GPUs do, what a batch is made of, and where the time goes."""

from __future__ import annotations

from grafana.panels import Board, Choice, Level, Panel, Query, Row
from grafana.queries import GROUP, MOST_LINES, RATE, drain, finished, quantile, rate, share_of_time, spread

EMBED = 'stage="embed"'
HERE = 'stage="embed",instance=~"$replica"'
EMBED_GROUP = f'stage_of="embed",{GROUP}'
COMPUTING = 'step="embed"'
TOKENS = rate("tokens", RATE, "stage", HERE)
PADDED = rate("padded_tokens", RATE, "stage", HERE)
CHUNKS = rate("chunks", RATE, "stage", HERE)
SLOW_CHUNKS = rate("chunks", "5m", "stage", HERE)
"""Chunks are counted before their pages are: over less than some batches the two do not belong together."""
PAGES = finished(RATE, "stage", HERE)
WAITING = f"1 - clamp_max({share_of_time(RATE, 'instance', HERE, COMPUTING)}, 1)"


def _gpu(name: str) -> str:
    return f"max by (instance, gpu) (cirrostream_gpu_{name}{{{HERE}}})"


NOW = Row(
    "Now",
    (
        Panel(
            "Tokens a second",
            "Real tokens that the model takes, all replicas together: the figure to size and to price by. Compare it"
            " with the table in docs/operations.md; far below it, look at how long the device waits.",
            "short",
            (Query(TOKENS),),
            "what-a-batch-is-made-of",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Chunks a second",
            "Vectors made, all replicas together: rows that the table will get. Compare it with tokens a second, which"
            " does not depend on how long the chunks are.",
            "cps",
            (Query(CHUNKS),),
            "how-fast-it-goes",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Padding efficiency",
            "Share of the computed tokens that are real. Below 80 % the device computes padding: batches are too small,"
            " or short and long chunks meet in one.",
            "percentunit",
            (Query(f"{TOKENS} / ({PADDED} > 0)"),),
            "what-a-batch-is-made-of",
            kind="stat",
            width=4,
            height=4,
            base="red",
            levels=(Level(0.6, "orange"), Level(0.8, "green")),
            most=1,
        ),
        Panel(
            "The device waits",
            "Share of the time in which no replica computes, on average. Below 10 % the device is the limit: more"
            " replicas. Above 50 % something else is: the chunkers, Kafka, or there is nothing to do.",
            "percentunit",
            (Query(f"avg({WAITING})"),),
            "the-device-waits",
            kind="stat",
            width=4,
            height=4,
            levels=(Level(0.25, "yellow"), Level(0.5, "orange")),
            most=1,
        ),
        Panel(
            "Replicas ready",
            "Embedders that have their model and partitions.",
            "short",
            (Query(f"sum(cirrostream_ready{{{EMBED}}})"),),
            "cirrostreamreplicadown",
            kind="stat",
            width=4,
            height=4,
            base="red",
            levels=(Level(1, "green"),),
            decimals=0,
        ),
        Panel(
            "Its work done in",
            "Time until what waits for the embedders now is done, at their rate of the last five minutes.",
            "s",
            (Query(f"max({drain(EMBED_GROUP)})"),),
            "how-far-behind-it-is",
            kind="stat",
            width=4,
            height=4,
            never="never",
        ),
    ),
)

THROUGHPUT = Row(
    "Throughput",
    (
        Panel(
            "Tokens a second, by replica",
            f"Real tokens, the {MOST_LINES} fastest replicas on each other. Replicas on the same kind of GPU should be"
            " of one thickness.",
            "short",
            (Query(f"topk({MOST_LINES}, {rate('tokens', RATE, 'instance', HERE)})", "{{instance}}"),),
            "how-fast-it-goes",
            width=12,
            stacked=True,
        ),
        Panel(
            "Real and computed tokens a second",
            "What the model computes, and what of it is no padding. The gap is work for nothing.",
            "short",
            (Query(TOKENS, "real"), Query(PADDED, "with padding")),
            "what-a-batch-is-made-of",
            width=12,
        ),
        Panel(
            "Chunks a second, by replica",
            f"Vectors made, the {MOST_LINES} fastest replicas. One far below its like has a slower device or too few"
            " partitions.",
            "cps",
            (Query(f"topk({MOST_LINES}, {rate('chunks', RATE, 'instance', HERE)})", "{{instance}}"),),
            "cirrostreamreplicastuck",
        ),
        Panel(
            "Pages a second",
            "Pages that the embedders finish, beside those that the chunkers hand them. When the lines lie on each"
            " other with little lag, the chunkers are the limit, not the GPUs.",
            "cps",
            (Query(PAGES, "embedded"), Query(finished(RATE, "stage", 'stage="chunk"'), "chunked")),
            "how-fast-it-goes",
        ),
        Panel(
            "What runs",
            "Version, model, precision and device of each replica. Replicas of one group must have one model; a CPU"
            " among GPUs is a driver that was not found.",
            "short",
            (
                Query(
                    f"count by (instance, version, model, dtype, device) (cirrostream_build_info{{{HERE}}})",
                    "replicas",
                ),
            ),
            "what-a-batch-is-made-of",
            kind="table",
        ),
    ),
)

BATCHES = Row(
    "What a batch is made of",
    (
        Panel(
            "Pages in a batch",
            "Median and p90 of the pages that one turn of the loop takes. 1 or 2 under load: batches are cut by time,"
            " not by size; raise --batch-seconds or look why little arrives.",
            "short",
            (
                Query(quantile(0.5, "batch_records", RATE, "", HERE), "p50"),
                Query(quantile(0.9, "batch_records", RATE, "", HERE), "p90"),
            ),
            "what-a-batch-is-made-of",
            width=6,
        ),
        Panel(
            "Tokens in a pass of the device",
            "Median and p90 of what the device takes at once. Under load it lies near the device's token budget.",
            "short",
            (
                Query(quantile(0.5, "batch_tokens", RATE, "", HERE), "p50"),
                Query(quantile(0.9, "batch_tokens", RATE, "", HERE), "p90"),
            ),
            "what-a-batch-is-made-of",
            width=6,
        ),
        Panel(
            "Padding efficiency of a pass",
            "Share of a pass that is no padding: the median, and what nine of ten passes exceed.",
            "percentunit",
            (
                Query(quantile(0.5, "batch_padding_efficiency_ratio", RATE, "", HERE), "p50"),
                Query(quantile(0.1, "batch_padding_efficiency_ratio", RATE, "", HERE), "p10"),
            ),
            "what-a-batch-is-made-of",
            width=6,
            base="red",
            levels=(Level(0.6, "orange"), Level(0.8, "green")),
            most=1,
        ),
        Panel(
            "Chunks in a page, tokens in a chunk",
            "What the corpus is like at this point of it. Longer pages explain fewer pages a second at the same tokens"
            " a second.",
            "short",
            (
                Query(f"{SLOW_CHUNKS} / ({finished('5m', 'stage', HERE)} > 0)", "chunks in a page"),
                Query(f"{rate('tokens', '5m', 'stage', HERE)} / ({SLOW_CHUNKS} > 0)", "tokens in a chunk"),
            ),
            "what-a-batch-is-made-of",
            width=6,
        ),
    ),
)

STEPS = Row(
    "Steps",
    (
        Panel(
            "Half are faster than, by step",
            "p50 of each step. fetch: waiting for Kafka; decode: reading the messages; pack: sorting chunks into"
            " passes; embed: the model; publish and acknowledge: Kafka; commit: the group.",
            "s",
            (Query(quantile(0.5, "step_seconds", RATE, "step", HERE), "{{step}}"),),
            "the-device-waits",
            logarithmic=True,
            least=None,
        ),
        Panel(
            "The slowest of a hundred, by step",
            "p99 of each step. One that stands far above its p50 comes in bursts: rebalances, a full disk on a broker,"
            " another user of the GPU.",
            "s",
            (Query(quantile(0.99, "step_seconds", RATE, "step", HERE), "{{step}}"),),
            "the-device-waits",
            logarithmic=True,
            least=None,
        ),
        Panel(
            "Where a second goes",
            "Share of a replica's time in each step, on average. Under load it should be all embed.",
            "percentunit",
            (Query(share_of_time(RATE, "step", HERE), "{{step}}"),),
            "the-device-waits",
            stacked=True,
        ),
        Panel(
            "The device waits, by replica",
            f"Share of the time in which a replica's model does not compute, the {MOST_LINES} highest.",
            "percentunit",
            (Query(f"topk({MOST_LINES}, {WAITING})", "{{instance}}"),),
            "the-device-waits",
            width=12,
            levels=(Level(0.5, "orange"),),
            most=1,
        ),
        Panel(
            "Time of a batch in the model",
            "How many batches took how long. Two bands are two kinds of replica or of page; a band that climbs is a"
            " device that is throttled or shared.",
            "s",
            (Query(spread("step_seconds", RATE, HERE, COMPUTING)),),
            "the-device-waits",
            kind="heat",
            width=12,
            least=None,
        ),
    ),
)

KAFKA = Row(
    "Kafka",
    (
        Panel(
            "Bytes in flight, of their limit",
            "Vectors sent and not yet acknowledged, where most. At 100 % a replica waits for Kafka: brokers, network,"
            " or a replica of a topic that lags.",
            "percentunit",
            (
                Query(
                    f"topk({MOST_LINES}, max by (instance) (cirrostream_bytes_in_flight{{{HERE}}}"
                    f" / cirrostream_bytes_in_flight_limit{{{HERE}}}))",
                    "{{instance}}",
                ),
            ),
            "the-device-waits",
            levels=(Level(0.9, "orange"),),
            most=1,
        ),
        Panel(
            "Bytes in flight",
            "The same in bytes, all replicas together, with the sum of their limits.",
            "bytes",
            (
                Query(f"sum(cirrostream_bytes_in_flight{{{HERE}}})", "in flight"),
                Query(f"sum(cirrostream_bytes_in_flight_limit{{{HERE}}})", "limit"),
            ),
            "the-device-waits",
        ),
        Panel(
            "Pages waiting for the embedders",
            "Near 0 with idle devices: the chunkers are too slow. Growing: the embedders are.",
            "short",
            (
                Query(
                    f"sum by (group) (cirrostream_lag_records{{{EMBED_GROUP}}})",
                    "{{group}}",
                ),
            ),
            "how-far-behind-it-is",
        ),
    ),
)

GPU = Row(
    "GPU",
    (
        Panel(
            "GPU utilisation",
            f"Share of the time in which a kernel ran, the {MOST_LINES} lowest. High does not mean fast: compare with"
            " tokens a second. Low with pages waiting: look at what the device waits for.",
            "percentunit",
            (Query(f"bottomk({MOST_LINES}, {_gpu('utilization_ratio')})", "{{instance}} {{gpu}}", needs="gpu"),),
            "the-device-waits",
            most=1,
        ),
        Panel(
            "GPU memory in use",
            "By all processes on the GPU, as a share of what there is. Above 95 % the next long batch may not fit; the"
            " embedder then halves its passes and goes on, slower.",
            "percentunit",
            (
                Query(
                    f"topk({MOST_LINES}, {_gpu('memory_used_bytes')} / {_gpu('memory_size_bytes')})",
                    "{{instance}} {{gpu}}",
                    needs="gpu",
                ),
            ),
            "gpu-memory-and-temperature",
            levels=(Level(0.95, "red"),),
            most=1,
        ),
        Panel(
            "GPU temperature",
            "Above 85 °C most GPUs slow themselves down: look at the fans, and at the neighbours.",
            "celsius",
            (Query(f"topk({MOST_LINES}, {_gpu('temperature_celsius')})", "{{instance}} {{gpu}}", needs="gpu"),),
            "gpu-memory-and-temperature",
            levels=(Level(75, "orange"), Level(85, "red")),
            least=None,
        ),
    ),
)

BOARD = Board(
    "cirrostream-embedding",
    "Cirrostream / Embedding",
    "The GPU stage: throughput, what a batch is made of, where the time goes, and the devices.",
    (NOW, THROUGHPUT, BATCHES, STEPS, KAFKA, GPU),
    (
        Choice("group", "Group", 'label_values(cirrostream_lag_records{stage_of="embed"}, group)'),
        Choice("replica", "Replica", f"label_values(cirrostream_loop_idle_seconds{{{EMBED}}}, instance)"),
    ),
)
