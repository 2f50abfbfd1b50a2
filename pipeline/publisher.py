"""Sends messages to Kafka so that none is lost in silence.

Three traps of kafka-python's producer shape this file (`docs/decisions/0002-publisher.md`): it takes any amount of
records into memory while a broker is away; after some errors it accepts sends for ever without sending; and `flush`
says nothing of records that failed. So the bytes in flight are bounded, each future is looked at, and a producer that
has stopped is replaced, with everything unacknowledged sent again in its old order. Records written twice are
harmless: order in the table comes from `source`.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from kafka import KafkaProducer
from kafka.errors import (
    AuthorizationError,
    InvalidRecordError,
    InvalidTimestampError,
    InvalidTopicError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    UnsupportedCompressionTypeError,
    UnsupportedForMessageFormatError,
)
from kafka.producer.future import RecordMetadata

from pipeline.errors import TryAgain
from pipeline.kafka import Cluster
from pipeline.kafka_errors import in_words
from pipeline.metrics import Metrics
from pipeline.settings import MIB
from pipeline.topic_rules import LARGEST_RECORD

BATCH_BYTES = 512 * 1024
"""8 KB records with zstd: 16 MB/s at the default of 16 KiB, 91 MB/s at this."""

RECORD_OVERHEAD = 512
"""Room for what Kafka adds to a record: batch header, lengths, our headers' names."""

STALL_SECONDS = 130.0
"""No acknowledgement for so long: the producer is replaced. Above its own `delivery_timeout_ms`."""

GIVE_UP_SECONDS = 280.0

FLUSH_SECONDS = 0.05
"""Whoever waits for room has all batches sent as they are, and looks again after this: not for all to be acknowledged,
which would leave the line idle each time."""

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)

_NEVER_TAKEN = (
    AuthorizationError,
    InvalidRecordError,
    InvalidTimestampError,
    InvalidTopicError,
    PolicyViolationError,
    UnsupportedCompressionTypeError,
    UnsupportedForMessageFormatError,
)
"""Refusals that another producer would meet as well; each says which rule of the topic or of the cluster it is."""


@dataclass(frozen=True, slots=True)
class Message:
    """One record to send; without a partition, the key chooses it (murmur2, as Kafka's own clients do)."""

    topic: str
    key: bytes
    value: bytes | None
    partition: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def size(self) -> int:
        """Bytes it takes in flight, uncompressed."""
        return self.payload + RECORD_OVERHEAD

    @property
    def payload(self) -> int:
        """Bytes of key, value and headers, uncompressed."""
        headers = sum(len(name) + len(value) for name, value in self.headers)
        return len(self.key) + len(self.value or b"") + headers


class RecordTooLarge(Exception):
    """The topic does not take a record of this size; nothing of the message was sent."""

    def __init__(self, message: Message, limit: int) -> None:
        super().__init__(f"{message.size} bytes, {message.topic} takes {limit}")
        self.message = message
        self.limit = limit


class _Sent:
    """A message and the latest attempt at it."""

    __slots__ = ("future", "generation", "message", "number")

    def __init__(self, number: int, message: Message) -> None:
        self.number = number
        self.message = message
        self.generation = -1
        self.future: Any = None


class Delivery:
    """Messages that were handed over together."""

    def __init__(self, publisher: Publisher, sent: Sequence[_Sent]) -> None:
        self._publisher = publisher
        self._sent = sent

    @property
    def done(self) -> bool:
        """True when all are acknowledged; never blocks."""
        return all(sent.future is not None and sent.future.succeeded() for sent in self._sent)

    @property
    def records(self) -> list[RecordMetadata]:
        """The places at which they stand, once they are `done`."""
        return [sent.future.value for sent in self._sent]

    def wait(self, timeout_s: float = GIVE_UP_SECONDS) -> list[RecordMetadata]:
        """Blocks until all replicas in sync have every message; the metadata has partitions and offsets.

        Raises:
            TryAgain: they do not have them after `timeout_s`.
            RecordTooLarge: the broker has refused one for its size.
        """
        deadline = time.monotonic() + timeout_s
        return [self._publisher._acknowledged(sent, deadline) for sent in self._sent]


class Publisher:
    """A producer with a bound on its memory and no silent failures.

    `publish` and `wait` belong to one thread. While they wait they call `turned`: their own limit ends them, with a
    line that names Kafka, and not the process' watchdog before it.
    """

    def __init__(
        self,
        cluster: Cluster,
        metrics: Metrics | None = None,
        *,
        max_bytes_in_flight: int = 64 * MIB,
        stall_seconds: float = STALL_SECONDS,
        linger_ms: int = 5,
        turned: Callable[[], None] = lambda: None,
    ) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._bound = max_bytes_in_flight
        self._stall_seconds = stall_seconds
        self._linger_ms = linger_ms
        self._turned = turned
        self._changed = threading.Condition()
        self._unacknowledged: dict[int, _Sent] = {}
        self._bytes = 0
        self._failed = False
        self._generation = 0
        self._numbers = itertools.count()
        self._progress_at = self._rebuilt_at = time.monotonic()
        self._producer = self._new_producer()
        self.bytes_acknowledged = 0
        """Payload that all replicas have, since the start."""
        self.rebuilds = 0
        """Producers that had to be replaced."""
        if metrics is not None:
            metrics.bytes_in_flight.follow(lambda: self._bytes)
            metrics.bytes_in_flight_limit.set(max_bytes_in_flight)

    def publish(self, messages: Iterable[Message]) -> Delivery:
        """Hands messages over; blocks while the bytes in flight are at their bound.

        Raises:
            RecordTooLarge: one is larger than its topic takes; none of them was sent.
            TryAgain: nothing was acknowledged for minutes.
        """
        checked = list(messages)
        for message in checked:
            if not self.takes(message):
                raise RecordTooLarge(message, self._cluster.max_message_bytes(message.topic))
        return Delivery(self, [self._send_new(message) for message in checked])

    def takes(self, message: Message) -> bool:
        """True when the message is no larger than its topic takes."""
        return message.size <= self._cluster.max_message_bytes(message.topic)

    @property
    def bytes_in_flight(self) -> int:
        return self._bytes

    def close(self) -> None:
        """Waits a moment for what is in flight, then ends the producer. The rest may be lost."""
        self._close(5)

    def abandon(self) -> None:
        """Ends the producer without waiting for anything in flight."""
        self._close(0)

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close(5 if error is None else 0)

    def _close(self, timeout_s: float) -> None:
        try:
            self._producer.close(timeout=timeout_s)
        except KafkaError:  # of what it could not send we know from the futures; but it has not ended its thread then
            self._producer._sender.force_close()

    def _new_producer(self) -> KafkaProducer:
        return self._cluster.connected(
            KafkaProducer,
            acks="all",
            enable_idempotence=True,
            compression_type="zstd",
            batch_size=BATCH_BYTES,
            linger_ms=self._linger_ms,
            max_request_size=LARGEST_RECORD,
            max_block_ms=60_000,
            delivery_timeout_ms=120_000,
            metrics_enabled=False,
        )

    def _send_new(self, message: Message) -> _Sent:
        self._await_room(message.size)
        sent = _Sent(next(self._numbers), message)
        with self._changed:
            if not self._unacknowledged:
                self._progress_at = time.monotonic()
            self._unacknowledged[sent.number] = sent
            self._bytes += message.size
        self._send(sent)
        return sent

    def _await_room(self, size: int) -> None:
        while True:
            self._turned()
            with self._changed:
                # A message larger than the bound goes alone.
                if not self._failed and (self._bytes + size <= self._bound or not self._unacknowledged):
                    return
            if not self._failed:
                self._flush(FLUSH_SECONDS)
            self._rebuild_if_dead()

    def _send(self, sent: _Sent) -> None:
        message = sent.message
        sent.generation = generation = self._generation
        try:
            sent.future = self._producer.send(
                message.topic,
                value=message.value,
                key=message.key,
                partition=message.partition,
                headers=list(message.headers),
            )
        except KafkaTimeoutError:  # no metadata yet: what `_rebuild_if_dead` is for
            self._on_failure(generation)
            return
        except KafkaError as error:
            raise in_words(error, message.topic) from error
        sent.future.add_callback(lambda _: self._on_success(sent))
        sent.future.add_errback(lambda _: self._on_failure(generation))

    def _on_success(self, sent: _Sent) -> None:
        with self._changed:
            if self._unacknowledged.pop(sent.number, None) is not None:
                self._bytes -= sent.message.size
                self._count(sent.message.payload)
            self._progress_at = time.monotonic()
            self._changed.notify_all()

    def _on_failure(self, generation: int) -> None:
        with self._changed:
            self._failed = self._failed or generation == self._generation
            self._changed.notify_all()

    def _acknowledged(self, sent: _Sent, deadline: float) -> RecordMetadata:
        while True:
            self._turned()
            if sent.future is not None and sent.future.succeeded():
                return sent.future.value
            if sent.future is not None and sent.future.failed():
                self._raise_if_hopeless(sent)
            if time.monotonic() > deadline:
                raise TryAgain(f"{sent.message.topic}: not acknowledged in time; {len(self._unacknowledged)} in flight")
            if not self._failed and not (sent.future is not None and sent.future.is_done):
                self._flush(min(1.0, max(0.0, deadline - time.monotonic())))
            self._rebuild_if_dead()

    def _flush(self, timeout_s: float) -> None:
        """Sends what lingers, for who waits. The futures tell the outcome: flush is wrong about them both ways."""
        with contextlib.suppress(KafkaError):
            self._producer.flush(timeout_s)
        with self._changed:  # a moment, where it returned at once: no busy loop
            if self._unacknowledged and not self._failed:
                self._changed.wait(timeout=0.01)

    def _raise_if_hopeless(self, sent: _Sent) -> None:
        if self._is_too_large(sent):
            self._forget(sent)
            self._rebuild()
            raise RecordTooLarge(sent.message, self._cluster.max_message_bytes(sent.message.topic))
        self._raise_if_never_taken(sent)

    def _raise_if_never_taken(self, sent: _Sent) -> None:
        if sent.future is not None and sent.future.failed() and isinstance(sent.future.exception, _NEVER_TAKEN):
            raise in_words(sent.future.exception, f"cannot write to {sent.message.topic}")

    def _is_too_large(self, sent: _Sent) -> bool:
        """True when the broker refused this record for its size; its neighbours in the batch fail in the same words.

        That happens only when somebody has made the topic's limit smaller since we asked.
        """
        if sent.future is None or not sent.future.failed() or not isinstance(sent.future.exception, _TOO_LARGE):
            return False
        self._cluster.forget_limits()
        return sent.message.size > self._cluster.max_message_bytes(sent.message.topic)

    def _rebuild_if_dead(self) -> None:
        now = time.monotonic()
        silent = now - self._progress_at if self._unacknowledged else 0.0
        if silent > GIVE_UP_SECONDS:
            raise TryAgain(f"Kafka at {self._cluster.bootstrap} has acknowledged nothing for {silent:.0f} s")
        if self._failed or (silent > self._stall_seconds and now - self._rebuilt_at > self._stall_seconds):
            self._rebuild()

    def _rebuild(self) -> None:
        """Replaces the producer and sends again, in order, what it had not delivered.

        But for what is too large: its waiter will be told, and sending it again would kill the next producer too.
        """
        left = list(self._unacknowledged.values())
        for sent in left:
            self._raise_if_never_taken(sent)
        again = [sent for sent in left if not self._is_too_large(sent)]
        self._close(0)
        self.rebuilds += 1
        if self._metrics is not None:
            self._metrics.producer_rebuilds.inc()
        with self._changed:
            self._generation += 1
            self._failed = False
        self._rebuilt_at = time.monotonic()
        self._producer = self._new_producer()
        for sent in again:
            if self._failed:  # each would wait a minute for the same broker; the next producer sends them
                break
            self._turned()
            self._send(sent)

    def _forget(self, sent: _Sent) -> None:
        with self._changed:
            if self._unacknowledged.pop(sent.number, None) is not None:
                self._bytes -= sent.message.size

    def _count(self, payload: int) -> None:
        self.bytes_acknowledged += payload
        if self._metrics is not None:
            self._metrics.bytes_out.inc(payload)
