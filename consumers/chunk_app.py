"""faust, set up for the chunk stage: settings that measured best, security, and commits that never get stuck."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import faust
from aiokafka import TopicPartition
from aiokafka.codec import has_zstd
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from yarl import URL

from pipeline.errors import Fatal
from pipeline.kafka import Cluster, tls_context
from pipeline.metrics import Metrics
from pipeline.settings import MIB, KafkaSettings, chosen_log_level

BUFFERED_PAGES = 64
"""Pages that wait for the agent, at most; faust's 4,096 could hold gigabytes."""

BUFFERED_BYTES = 16 * MIB
"""While so much waits for the agent, nothing more is taken from the fetcher: 64 pages can be half a gigabyte."""

POLL_RECORDS = 8
"""Taken from the fetcher at once, whatever their size: with pages of 8 MiB, 64 MiB beyond `BUFFERED_BYTES`."""

PRODUCE_SECONDS = 60.0
"""The producer tries so long to send a message."""

FETCH_BYTES = 1 * MIB
"""Compressed bytes fetched ahead for each partition; a larger record still comes, alone."""


class Consumer(driver.Consumer):
    """faust's consumer, with a position to commit that knows about holes in the log.

    faust looks for consecutive offsets. A compacted topic has few: with offset 0 kept and the next thousands gone, it
    commits 1 for good. But our agent finishes its events in order, so the position is simply behind the last one
    (`done`); or, once all that was fetched is done, where the fetch stands, past markers and emptied batches.
    """

    def on_init(self) -> None:
        super().on_init()
        self._taken = asyncio.Event()
        self._forget()

    @property
    def _metrics(self) -> Metrics:
        metrics: Metrics = self.transport.metrics  # type: ignore[attr-defined]  # it is our Transport
        return metrics

    def done(self, message: Any) -> None:
        """Kafka has all that was made of this message. One from before a rebalance tells nothing about after."""
        if message.generation_id == self.app.consumer_generation_id:
            self._done[message.tp] = message.offset + 1

    def taken(self, message: Any) -> None:
        """The agent has this message: there is room for another."""
        if self._waiting.pop((message.tp, message.offset), None) is not None:
            self._taken.set()

    def _forget(self) -> None:
        self._done: dict[TP, int] = {}
        self._waiting: dict[tuple[TP, int], int] = {}
        self._delivered: dict[TP, int] = {}
        self._caught_up: dict[TP, int] = {}

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)
        self._forget()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._forget()
        self._metrics.rebalances.inc()
        await super().on_partitions_assigned(assigned, generation_id)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        with self._metrics.timed("commit"):
            return bool(await super()._commit(offsets))

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        generation = self.app.consumer_generation_id
        await self._room()
        if generation != self.app.consumer_generation_id:
            return {}  # these partitions may be another's by now
        asked_at = time.perf_counter()
        records = await super()._getmany(active_partitions, timeout)
        if records:  # the wait of an idle stage is no step
            self._metrics.took("fetch", time.perf_counter() - asked_at)
        if not records and self.flow_active:  # so everything fetched before has been delivered
            self._caught_up = self._positions()
        return records

    async def _room(self) -> None:
        while sum(self._waiting.values()) >= BUFFERED_BYTES:
            self._taken.clear()
            with suppress(TimeoutError):  # what a rebalance has thrown away is taken by nobody
                await asyncio.wait_for(self._taken.wait(), 1.0)

    def _positions(self) -> dict[TP, int]:
        subscription = self._thread._ensure_consumer()._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        states = {tp: assignment.state_value(tp) for tp in assignment.tps} if assignment is not None else {}
        return {TP(*tp): state.position for tp, state in states.items() if state and state.has_valid_position}

    def _to_message(self, tp: TP, record: Any) -> Any:
        self._delivered[tp] = record.offset + 1
        self._waiting[tp, record.offset] = len(record.value or b"")
        return super()._to_message(tp, record)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return iter(self._done.keys() | self._caught_up.keys())

    def _new_offset(self, tp: TP) -> int | None:
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        done = self._done.get(tp)
        if done != self._delivered.get(tp):
            return done
        return max(done or 0, self._caught_up[tp]) if tp in self._caught_up else done

    async def note(self, tp: TP, metadata: str) -> None:
        """Commits the position with this beside it, for who has the partition after this process: behind what is done,
        so that no later commit of that takes it away."""
        consumer, partition = self._thread._ensure_consumer(), TopicPartition(tp.topic, tp.partition)
        done = self._done.get(tp)

        async def commit() -> None:
            at = done if done is not None else await consumer.committed(partition)
            await consumer.commit({partition: OffsetAndMetadata(at or 0, metadata)})

        await self._thread.call_thread(commit)
        if done is not None:
            self._committed_offset[tp] = done

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Holes need no book-keeping here; faust's is quadratic in their number."""


class Transport(driver.Transport):
    """faust's transport over aiokafka, with our consumer, and the metrics that it feeds."""

    Consumer = Consumer
    metrics: Metrics


class App(faust.App):
    """faust's application, without the folders that it makes where the process was started and puts nothing into."""

    def _create_directories(self) -> None:
        pass


def new_app(
    cluster: Cluster, group: str, max_message_bytes: int, session_seconds: float, metrics: Metrics
) -> faust.App:
    """The application; its id is the consumer group.

    Raises:
        Fatal: cramjam is missing, without which aiokafka cannot read what our producers write.
    """
    if not has_zstd():
        raise Fatal("the package cramjam is missing: type `pip install cramjam`")
    app = App(
        group,
        broker=[URL(f"kafka://{server}") for server in cluster.servers],
        broker_credentials=credentials(cluster.kafka),
        broker_client_id="cirrostream-chunk",
        broker_commit_interval=0.5,
        broker_session_timeout=session_seconds,
        broker_heartbeat_interval=min(1.0, session_seconds / 6),
        broker_max_poll_records=POLL_RECORDS,
        consumer_auto_offset_reset="none",
        consumer_max_fetch_size=FETCH_BYTES,
        producer_acks=-1,
        producer_compression_type="zstd",
        producer_linger=0.005,
        producer_max_batch_size=256 * 1024,
        producer_max_request_size=max_message_bytes + MIB,
        producer_request_timeout=PRODUCE_SECONDS,
        stream_buffer_maxsize=BUFFERED_PAGES,
        stream_wait_empty=False,
        store="memory://",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    transport = Transport(app.conf.broker_consumer, app)
    transport.metrics = metrics
    app.transport = transport
    return app


def quiet_libraries() -> None:
    """Leaves the last word to our own lines; `CIRROSTREAM_LOG_LEVEL` brings faust's and aiokafka's back.

    They log a traceback for each restart of each of their parts, after the reason has long been said.
    """
    if chosen_log_level() is None:
        for name in ("faust", "mode", "aiokafka", __name__):  # mode logs for our Consumer in this module's name
            logging.getLogger(name).setLevel(logging.CRITICAL)


def raw_topic(app: faust.App, name: str) -> Any:
    """A topic of bytes, which must exist."""
    return app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


def taken(app: faust.App, event: Any) -> None:
    """Says that the agent has this event, so that there is room for another."""
    _consumer(app).taken(event.message)


def done(app: faust.App, events: Iterable[Any]) -> None:
    """Marks these events, in order, as ready to be committed."""
    for event in events:
        _consumer(app).done(event.message)


def _consumer(app: faust.App) -> Consumer:
    consumer = app.consumer
    assert isinstance(consumer, Consumer)  # noqa: S101 - for the type checker; `new_app` made it
    return consumer


async def note(app: faust.App, tp: TP, metadata: str) -> None:
    """Leaves this beside the committed position of a partition."""
    await _consumer(app).note(tp, metadata)


def credentials(kafka: KafkaSettings) -> faust.auth.Credentials | None:
    """The same ways in as `pipeline.kafka` gives kafka-python."""
    context = tls_context(kafka)
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            mechanism=kafka.sasl_mechanism,
            username=kafka.sasl_username,
            password=kafka.sasl_password.get_secret_value(),
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if context is not None else None
