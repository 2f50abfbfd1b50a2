"""Every metric that a stage's process can serve, each declared here with a line of meaning (docs/metrics.md).

Prefix `cirrostream_`, base units, bounded labels: `stage` is one of ours, `reason`, `event`, `call` and `step` come
from the code, never from the input. A gauge, a step or an event that a process does not have is absent; all others
begin at 0, for Prometheus cannot see the first increase of a counter that was not there before it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from pipeline.metrics.at_scrape import Declared
from pipeline.metrics.series import ByValue, StageGauge
from pipeline.version import version

SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800),
)
"""From the decoding of one small poll to the optimize of a table of tens of millions of rows."""

RECORDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)
TOKENS = (64, 256, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 65_536, 131_072, 262_144)
"""Around the token budgets of a CPU (4,096) and of a GPU (65,536)."""

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0)

FORGED = ("forged_source", "newer_schema", "unknown_schema", "unknown_topic")
"""Reasons that no fault of a stage can lead to: the record is of none of our processes, or of a newer one. They have an
alert, and do not count towards the limits of dead letters: else whoever has a worker's password could stop a stage."""

DEAD_LETTERS = {
    "produce": ("too_large",),
    "live": ("too_large",),
    "chunk": ("undecodable", "unchunkable", "too_large", "killed", "timed_out", *FORGED[1:3]),
    "embed": (
        *("undecodable", "bad_token_ids", "too_many_tokens", "model_failed", "out_of_memory", "not_finite"),
        *("too_large", "killed"),
        *FORGED[:3],
    ),
    "lance": ("undecodable", "bad_key", "bad_page", "bad_chunks", "too_large", "bad_vectors", "killed", *FORGED),
}
"""The reasons of each stage, so that their counters begin at 0: the first dead letter is the one to be woken for."""

MEASUREMENTS = ("done", "died", "timed_out", "unreadable")
"""Outcomes of a measurement; the three latter are alike in that there is none."""

DISK = (
    Declared("cirrostream_disk_free_bytes", "Room left for this user on the file system of the data folder."),
    Declared("cirrostream_disk_size_bytes", "Size of the file system of the data folder."),
)
GPU = (
    Declared("cirrostream_gpu_memory_used_bytes", "GPU memory in use, by all processes on the GPU.", ("gpu",)),
    Declared("cirrostream_gpu_memory_size_bytes", "GPU memory there is.", ("gpu",)),
    Declared("cirrostream_gpu_utilization_ratio", "Share of the last second in which a kernel ran.", ("gpu",)),
    Declared("cirrostream_gpu_temperature_celsius", "Temperature of the GPU's core.", ("gpu",)),
)


class Metrics:
    """The metrics of one process, in a registry of their own so that two may live in one test.

    The `stage` label is set once, here.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.registry = CollectorRegistry()
        self._declare_counters()
        self._declare_histograms()
        self._declare_loop()
        self._declare_table()
        self._declare_searches()
        self._build = Info("cirrostream_build", "What runs here; always 1.", ("stage",), registry=self.registry)
        self.build_info()

    def _declare_counters(self) -> None:
        self._records = self._counters(
            "records", "Records that this stage has finished, by what became of them.", "event"
        )
        self._drops = self._counters("drops", "Documents left out on purpose, by reason.", "reason")
        self._dead_letters = self._counters("dead_letters", "Records that could not be processed, by reason.", "reason")
        self._retries = self._counters("retries", "Calls that were tried again, by what was called.", "call")
        moved = self._counters("bytes", "Bytes that came in, and bytes safely handed on.", "direction")
        self.bytes_in, self.bytes_out = moved["in"], moved["out"]
        self.chunks = self._counter("chunks", "Chunks made, embedded or stored.")
        self.tokens = self._counter("tokens", "Tokens made, or seen by the model, without padding.")
        self.padded_tokens = self._counter("padded_tokens", "Tokens that the model has computed, with padding.")
        self.unknown_tokens = self._counter(
            "unknown_tokens", "Tokens made that stand for what the model's vocabulary lacks."
        )
        self.characters = self._counter("characters", "Characters of text that became tokens, white space left out.")
        self.unknown_characters = self._counter(
            "unknown_characters", "Characters of text that became tokens for what the model's vocabulary lacks."
        )
        self.rebalances = self._counter("rebalances", "Times the group gave this process other partitions.")
        self.producer_rebuilds = self._counter(
            "producer_rebuilds", "Kafka producers replaced because they had stopped sending."
        )
        self.count(0)
        for reason in DEAD_LETTERS.get(self.stage, ()):
            self._dead_letters[reason].inc(0)

    def _declare_histograms(self) -> None:
        self._steps = ByValue(
            self._histogram("step_seconds", "Time that one step took.", SECONDS, "stage", "step"), self.stage
        )
        self._batch_records = self._histogram("batch_records", "Records in a batch.", RECORDS, "stage")
        self._batch_tokens = self._histogram(
            "batch_tokens", "Tokens in a batch of the device, without padding.", TOKENS, "stage"
        )
        self._batch_padding_efficiency = self._histogram(
            "batch_padding_efficiency_ratio", "Share of a device batch's tokens that is no padding.", SHARES, "stage"
        )

    def _declare_loop(self) -> None:
        self.assigned_partitions = self._gauge("assigned_partitions", "Partitions this process works on.")
        self.bytes_in_flight = self._gauge("bytes_in_flight", "Bytes sent to Kafka and not yet acknowledged.")
        self.bytes_in_flight_limit = self._gauge("bytes_in_flight_limit", "Bytes in flight at which sending waits.")
        self.last_turn = self._gauge("last_turn_timestamp_seconds", "When the loop last turned, in Unix time.")
        self.loop_idle = self._gauge("loop_idle_seconds", "Time since the loop last turned: the watchdog's age.")
        self.watchdog_limit = self._gauge("watchdog_limit_seconds", "Age at which the watchdog ends the process.")
        self.ready = self._gauge(
            "ready", "1 when the process works, or could at once; 0 before, and without partitions."
        )

    def _declare_table(self) -> None:
        self.table_rows = self._gauge("table_rows", "Live rows in the table.")
        self.table_dead_rows = self._gauge("table_dead_rows", "Rows that mark a replaced or deleted chunk.")
        self.table_fragments = self._gauge("table_fragments", "Fragments of the table; many make reads slow.")
        self.table_unindexed_rows = self._gauge("table_unindexed_rows", "Rows that the vector index does not have yet.")
        self.table_unindexed_text_rows = self._gauge(
            "table_unindexed_text_rows", "Rows that a full-text index does not have yet: words do not find them."
        )
        self.table_unindexed_text_since = self._gauge(
            "table_unindexed_text_since_timestamp_seconds",
            "Since when the oldest row waits that a full-text index does not have, in Unix time; 0: there is none.",
        )
        self.table_versions = self._gauge("table_versions", "Versions of the table kept for readers.")
        self.table_bytes = self._gauge("table_bytes", "Bytes of the newest version's rows, without indexes.")
        self.table_leases = self._gauge("table_leases", "Readers that keep old versions of the table by a lease.")
        self.table_leased_bytes = self._gauge("table_leased_bytes", "Bytes that are kept for leases alone.")
        self._leases_ended = self._counters(
            "leases_ended", "Readers' leases that the clean-up has ended or removed, by reason.", "reason"
        )
        self.upkeep_last_success = self._gauges(
            "upkeep_last_success_timestamp_seconds", "When this step of upkeep last succeeded, in Unix time.", "step"
        )
        self.upkeep_due_since = self._gauges(
            "upkeep_due_since_timestamp_seconds",
            "Since when this step of upkeep is due, in Unix time; 0: it is not.",
            "step",
        )
        self.trim_allowed = self._gauges(
            "trim_allowed", "1 while the sink may delete what is done with from this topic; 0: Kafka refuses.", "topic"
        )
        self.trim_kept = self._gauges(
            "trim_kept_records", "Records that are kept for this group alone: all other readers are done.", "group"
        )

    def _declare_searches(self) -> None:
        self.search_ready = self._gauge(
            "search_ready", "1 when columns, indexes and measurements of the table are up to date; 0: upkeep is at it."
        )
        self.search_measured = self._gauge(
            "search_measured_timestamp_seconds", "When the table was last measured for its searches, in Unix time."
        )
        self.index_recall = self._gauge(
            "search_index_recall_ratio", "Recall@10 of the vector index against an exact search."
        )
        self.search_recall = self._gauges(
            "search_recall_ratio", "Share of made questions with their page among the first ten hits.", "search"
        )
        self.search_ndcg = self._gauges("search_ndcg_ratio", "nDCG@10 of made questions.", "search")
        self._measurements = self._counters(
            "measurements", "Measurements of the table for its searches, by what became of them.", "event"
        )
        if self.stage == "lance":
            for event in MEASUREMENTS:
                self._measurements[event].inc(0)

    def build_info(self, *, model: str = "", dtype: str = "", device: str = "") -> None:
        """Says what runs here; a stage that loads a model says it again when it knows."""
        self._build.labels(self.stage).info({"version": version(), "model": model, "dtype": dtype, "device": device})

    def count(self, records: float = 1, event: str = "done") -> None:
        """Counts records that this stage has finished."""
        self._records[event].inc(records)

    def drop(self, reason: str, documents: int = 1) -> None:
        """Counts documents left out on purpose."""
        self._drops[reason].inc(documents)

    def dead_letter(self, reason: str) -> None:
        """Counts a record that could not be processed."""
        self._dead_letters[reason].inc()

    def lease_ended(self, reason: str) -> None:
        """Counts a reader's lease that the clean-up has ended or removed."""
        self._leases_ended[reason].inc()

    def measurement(self, event: str) -> None:
        """Counts a measurement of the table that has ended."""
        self._measurements[event].inc()

    def retry(self, call: str, times: int = 1) -> None:
        """Counts a call that is tried again."""
        self._retries[call].inc(times)

    def took(self, step: str, seconds: float) -> None:
        """Notes how long a step took, where `timed` cannot stand around it."""
        self._steps[step].observe(seconds)

    def batch(self, records: int) -> None:
        """Notes the size of a batch that the loop takes."""
        self._batch_records.labels(self.stage).observe(records)

    def device_batch(self, tokens: int, padded_tokens: int) -> None:
        """Notes one pass of the device, and counts its tokens."""
        self.tokens.inc(tokens)
        self.padded_tokens.inc(padded_tokens)
        self._batch_tokens.labels(self.stage).observe(tokens)
        self._batch_padding_efficiency.labels(self.stage).observe(tokens / max(1, padded_tokens))

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Measures the time spent inside, errors included."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.took(step, time.perf_counter() - start)

    def _counter(self, name: str, meaning: str) -> Counter:
        return Counter(f"cirrostream_{name}", meaning, ("stage",), registry=self.registry).labels(self.stage)

    def _counters(self, name: str, meaning: str, label: str) -> ByValue[Counter]:
        return ByValue(Counter(f"cirrostream_{name}", meaning, ("stage", label), registry=self.registry), self.stage)

    def _gauge(self, name: str, meaning: str) -> StageGauge:
        return StageGauge(Gauge(f"cirrostream_{name}", meaning, ("stage",), registry=self.registry), self.stage)

    def _gauges(self, name: str, meaning: str, label: str) -> ByValue[Gauge]:
        return ByValue(Gauge(f"cirrostream_{name}", meaning, ("stage", label), registry=self.registry), self.stage)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"cirrostream_{name}", meaning, labels, buckets=buckets, registry=self.registry)
