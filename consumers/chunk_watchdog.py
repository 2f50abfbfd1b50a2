"""Ends a chunker that has stalled, because faust says nothing when it does.

Measured: a lost broker makes it reconnect in a hot loop, deaf to SIGTERM; a stuck rebalance leaves it idle for good.
So a thread of its own asks Kafka, with another client, whether the work goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping

import faust
from kafka.errors import KafkaError

from consumers.chunk_errors import in_words
from consumers.chunk_positions import positions_of
from consumers.chunk_work import ChunkWork
from pipeline.errors import CirrostreamError, Fatal, TryAgain, one_line
from pipeline.kafka import Cluster
from pipeline.service import Service

CHECKS_IN_LIMIT = 12
LATE_FACTOR = 10


class StallTimer:
    """Remembers when the group's positions last moved.

    One partition may wait for minutes while others have their turn: what has been fetched ahead is worked off first.
    So it counts for a stall only after `LATE_FACTOR` times as long.
    """

    def __init__(self) -> None:
        self._moved_at = 0.0
        self._seen: dict[int, tuple[int, float]] = {}

    def observe(self, now: float, mine: Iterable[int], committed: Mapping[int, int], ends: Mapping[int, int]) -> float:
        """Seconds for which my partitions have had lag without any commit; 0 when there is none."""
        positions = {partition: committed.get(partition, 0) for partition in mine}
        late = {partition for partition, position in positions.items() if position < ends.get(partition, 0)}
        if not late or any(self._position(p) != position for p, position in positions.items()):
            self._moved_at = now
        self._seen = {
            p: self._seen[p] if p in late and self._position(p) == position else (position, now)
            for p, position in positions.items()
        }
        return max([now - self._moved_at, *((now - self._seen[p][1]) / LATE_FACTOR for p in late)])

    def _position(self, partition: int) -> int | None:
        return self._seen[partition][0] if partition in self._seen else None


class Watchdog:
    """Asks Kafka every few seconds, and ends the process when there is lag without a commit, or no answer, too long.

    Too long is `watchdog_seconds`, and with a page in hand also what that page may take.
    """

    def __init__(
        self, service: Service, cluster: Cluster, app: faust.App, work: ChunkWork, *, topic: str, group: str
    ) -> None:
        self._service = service
        self._cluster = cluster
        self._topic = topic
        self._group = group
        self._app = app
        self._work = work
        self._limit = service.settings.watchdog_seconds
        self._progress = StallTimer()
        self._answered_at = time.monotonic()

    def start(self) -> None:
        threading.Thread(target=self._watch, name="progress", daemon=True).start()

    def explain(self, reason: object) -> CirrostreamError:
        """The error for faust's crash: Fatal when its position is gone from the log, else another try may help."""
        try:
            committed = self._cluster.committed(self._group, self._topic)
            positions_of(self._group)(committed, self._cluster.log(self._topic).starts)
        except CirrostreamError as error:
            return error
        if isinstance(reason, BaseException):
            return in_words(reason, "faust has crashed")
        return TryAgain(f"faust has crashed: {reason!r}")

    def _watch(self) -> None:
        while not self._service.stopping.wait(min(10.0, self._limit / CHECKS_IN_LIMIT)):
            try:
                self._check()
            except Fatal as error:
                self._service.die(str(error), error.exit_code)
            except (CirrostreamError, KafkaError, OSError) as error:
                self._on_silence(error)
            except Exception as error:  # noqa: BLE001 - a watchdog that has ended says so, and not by its silence
                if not self._service.stopping.is_set():
                    self._service.die(f"watchdog: cannot see whether the work goes on: {one_line(error)}")

    def _check(self) -> None:
        committed = self._cluster.committed(self._group, self._topic)  # before the ends: else lag may look negative
        ends = self._cluster.log(self._topic).ends
        self._answered_at = time.monotonic()
        mine = {tp.partition for tp in self._app.consumer.assignment()}
        stalled = self._progress.observe(self._answered_at, mine, committed, ends)
        if stalled > self._limit + self._work.may_take:
            self._service.die(f"watchdog: lag, but nothing committed for {stalled:.0f} s")

    def _on_silence(self, error: Exception) -> None:
        silent = time.monotonic() - self._answered_at
        if silent > self._limit:
            self._service.die(f"watchdog: Kafka at {self._cluster.bootstrap} unreachable for {silent:.0f} s: {error}")
