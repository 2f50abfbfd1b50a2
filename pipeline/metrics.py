"""Every metric that a process can serve, each declared here with a line of meaning.

Prefix `cirrostream_`, base units, bounded labels: `stage` is one of ours, `reason`, `event` and `step` come from the
code, never from the input.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
BATCH = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)


class Metrics:
    """The metrics of one process, in a registry of their own so that two may live in one test.

    The `stage` label is set once, here.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.registry = CollectorRegistry()
        self._records = self._counter(
            "records", "Records that this stage has finished, by what became of them.", "event"
        )
        self._drops = self._counter("drops", "Documents left out on purpose, by reason.", "reason")
        self._dead_letters = self._counter("dead_letters", "Records that could not be processed, by reason.", "reason")
        self._retries = self._counter("retries", "Calls that were tried again, by what was called.", "call")
        self.chunks = self._counter("chunks", "Chunks made, embedded or stored.").labels(stage)
        self.bytes = self._counter("bytes", "Bytes of messages published or of input read.").labels(stage)
        self.tokens = self._counter("tokens", "Tokens that the model has seen, without padding.").labels(stage)
        self.padded_tokens = self._counter("padded_tokens", "Tokens that the model has computed, with padding.").labels(
            stage
        )
        self.rebalances = self._counter("rebalances", "Times the group gave this process other partitions.").labels(
            stage
        )
        self.producer_rebuilds = self._counter(
            "producer_rebuilds", "Kafka producers replaced because they had stopped sending."
        ).labels(stage)
        self.assigned_partitions = self._gauge("assigned_partitions", "Partitions this process works on.")
        self.bytes_in_flight = self._gauge("bytes_in_flight", "Bytes sent to Kafka and not yet acknowledged.")
        self.last_turn = self._gauge("last_turn_timestamp_seconds", "When the loop last turned, in Unix time.")
        self.table_rows = self._gauge("table_rows", "Live rows in the table.")
        self.table_dead_rows = self._gauge("table_dead_rows", "Rows that mark a replaced or deleted chunk.")
        self.table_fragments = self._gauge("table_fragments", "Fragments of the table; many make reads slow.")
        self.table_unindexed_rows = self._gauge("table_unindexed_rows", "Rows that the vector index does not have yet.")
        self.table_versions = self._gauge("table_versions", "Versions of the table kept for readers.")
        self._seconds = Histogram(
            "cirrostream_seconds",
            "Time that one step took.",
            ("stage", "step"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batch_records = Histogram(
            "cirrostream_batch_records",
            "Records in a batch.",
            ("stage",),
            buckets=BATCH,
            registry=self.registry,
        ).labels(stage)

    def count(self, records: int = 1, event: str = "done") -> None:
        """Counts records that this stage has finished."""
        self._records.labels(self.stage, event).inc(records)

    def drop(self, reason: str, documents: int = 1) -> None:
        """Counts documents left out on purpose."""
        self._drops.labels(self.stage, reason).inc(documents)

    def dead_letter(self, reason: str) -> None:
        """Counts a record that could not be processed."""
        self._dead_letters.labels(self.stage, reason).inc()

    def retry(self, call: str) -> None:
        """Counts a call that is tried again."""
        self._retries.labels(self.stage, call).inc()

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Measures the time spent inside, errors included."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds.labels(self.stage, step).observe(time.perf_counter() - start)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"cirrostream_{name}", meaning, ("stage", *labels), registry=self.registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(f"cirrostream_{name}", meaning, ("stage",), registry=self.registry).labels(self.stage)
