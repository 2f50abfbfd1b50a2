"""Embeds chunked pages: one replica of the GPU stage, `python -m consumers.embed`.

It is stateless and may be preempted at any moment. Its checkpoint is the committed offset of its group, written only
when all replicas of Kafka have the vectors; what was in hand at a kill is embedded again by somebody else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from kafka.consumer.fetcher import ConsumerRecord
from pydantic import Field

from consumers.embedder import LOAD_SECONDS, Embedded, Embedder
from pipeline import cli, model_files, topics
from pipeline.batches import Batch, BatchSource, Limit, Record
from pipeline.dead_letters import DeadLetter, DeadLetters
from pipeline.errors import Exit, Stopped
from pipeline.first_positions import from_committed
from pipeline.kafka import Cluster
from pipeline.publisher import Delivery, Message, Publisher, RecordTooLarge
from pipeline.records import ChunkedPage, EmbeddedPage, Undecodable, decode, encode, source_of
from pipeline.rejected import Rejected
from pipeline.service import Service
from pipeline.settings import DType, ModelSettings, ServiceSettings

BATCHES_OF_DEVICE = 4
"""A batch holds so many of the device's token budgets: sorted by length over that window, little padding is left."""

GRACE_SECONDS = 5.0
"""After SIGTERM a batch in hand may take so long; then it is dropped, and embedded again by another replica."""


class EmbedSettings(ModelSettings, ServiceSettings):
    """Settings of an embedding replica."""

    device: str = Field("auto", description="cpu, cuda, cuda:1, mps; auto: the first GPU, else the CPU.")
    dtype: DType = Field("auto", description="Precision; auto: the fastest that keeps cosine >= 0.999 to fp32.")
    threads: int = Field(0, ge=0, le=1024, description="CPU threads of this replica; 0: all cores.")
    batch_tokens: int = Field(0, ge=0, description="Tokens in a batch; 0: four times what the device takes at once.")
    batch_seconds: float = Field(0.2, ge=0, le=10, description="Longest wait for a batch to fill.")
    session_seconds: float = Field(10.0, ge=1, le=300, description="A replica silent for so long loses its work.")
    group_instance_id: str | None = Field(
        None, description="Name that survives a restart (Kafka's static membership), one for each replica."
    )


@dataclass(frozen=True, slots=True)
class Handed:
    """A batch that is on its way to Kafka."""

    deliveries: list[tuple[Record[ChunkedPage], Delivery]]
    next_offsets: dict[int, int]


app = cli.new_app("Embeds what is in the topic chunks.<model> into vectors.<model>.")


@cli.command(app, EmbedSettings)
def embed(settings: EmbedSettings) -> int:
    """Embeds chunked pages in batches; run one replica a GPU, as many as there are partitions at most."""
    with Service("embed", settings) as service:
        cluster = Cluster.connect(settings)
        with service.step(f"finding the model {settings.model}", model_files.RESOLVE_SECONDS):
            files = model_files.resolve(settings, weights=True)
        for notice in files.notices:
            service.log.warning(notice)
        names, letters_topic = topics.ensure_model(cluster, settings, files.tag), topics.corpus_topics(settings)
        with service.step(f"loading the model {files.name}", LOAD_SECONDS):
            embedder = Embedder.load(
                files, device=settings.device, dtype=settings.dtype, threads=settings.threads or None
            )
        service.log.info("model ready", model=files.tag, device=embedder.device_name, dtype=embedder.dtype)
        service.metrics.build_info(model=files.tag, dtype=embedder.dtype, device=embedder.device_name)
        if embedder.gpu_uuids:
            service.watch_gpus(embedder.gpu_uuids)
        for probe in embedder.probes:
            service.log.info("precision probe", result=str(probe))
        with Publisher(cluster, service.metrics, turned=service.turned) as publisher:
            letters = DeadLetters(
                publisher, letters_topic.dead_letters, service.metrics, settings.max_dead_letters, model=files.tag
            )
            stage = EmbedStage(service, embedder, publisher, letters, names)
            with stage.source(cluster, settings) as source:
                run(source, stage)
    return Exit.DONE


def run(source: BatchSource[ChunkedPage], stage: EmbedStage) -> None:
    """The loop: a batch is embedded while the one before it is being acknowledged, and only then committed."""
    in_flight = Handed([], {})
    try:
        for batch in source.batches():
            with source.work(batch):
                embedded = stage.embed(batch)
            handed = stage.hand_over(batch, embedded)
            stage.await_acknowledgement(in_flight)
            source.commit(in_flight.next_offsets)
            in_flight = handed
    except Stopped:
        pass
    stage.await_acknowledgement(in_flight)
    source.commit(in_flight.next_offsets)


class EmbedStage:
    """Steps of one batch: decode, embed, publish; a page that cannot be embedded goes to the dead letters."""

    def __init__(
        self,
        service: Service,
        embedder: Embedder,
        publisher: Publisher,
        letters: DeadLetters,
        names: topics.ModelTopics,
    ) -> None:
        self._service = service
        self._metrics = service.metrics
        self._embedder = embedder
        self._publisher = publisher
        self._letters = letters
        self._names = names
        self._stop_seen: float | None = None

    def source(self, cluster: Cluster, settings: EmbedSettings) -> BatchSource[ChunkedPage]:
        """The batches of this replica's partitions."""
        tokens = settings.batch_tokens or BATCHES_OF_DEVICE * self._embedder.budget.wanted.tokens
        return BatchSource(
            cluster,
            self._names.chunks,
            self._names.embed_group,
            decode=self._decode,
            poison=self._letters.poison,
            newer=self._letters.newer,
            weigh=_tokens,
            limit=Limit(tokens, settings.batch_seconds),
            positions=from_committed(
                self._names.embed_group, "make them again with `python -m pipeline.replay --stage chunk`"
            ),
            stopping=self._service.stopping,
            metrics=self._metrics,
            turned=self._service.turned,
            watch=self._service.step,
            watchdog_s=settings.watchdog_seconds,
            max_letters_in_a_row=settings.max_dead_letters,
            group_instance_id=settings.group_instance_id,
            session_timeout_s=settings.session_seconds,
        )

    def embed(self, batch: Batch[ChunkedPage]) -> Embedded:
        """The vectors of a batch.

        Raises:
            Stopped: SIGTERM came, and the batch was not done in time.
        """
        self._service.ready = True
        if not batch.records:
            return Embedded([], [])
        start = time.perf_counter()
        embedded = self._embedder.embed(batch.values, between=self._between)
        self._observe(embedded.pages, time.perf_counter() - start)
        return embedded

    def hand_over(self, batch: Batch[ChunkedPage], embedded: Embedded) -> Handed:
        """Gives vectors to the publisher, each page to the partition it came from; what has none is a dead letter."""
        failed = dict(embedded.failed)
        for index, rejected in failed.items():
            self._letters.send(_letter(batch.records[index], rejected))
        good = [record for index, record in enumerate(batch.records) if index not in failed]
        with self._metrics.timed("publish"):
            deliveries = self._publish(good, embedded.pages)
        return Handed(deliveries, batch.next_offsets)

    def await_acknowledgement(self, handed: Handed) -> None:
        """Returns when every vector of the batch is safe in Kafka, or its page in the dead letters."""
        if not handed.deliveries:
            return
        with self._metrics.timed("acknowledge"):
            for record, delivery in handed.deliveries:
                try:
                    delivery.wait()
                except RecordTooLarge as error:
                    self._letters.send(_letter(record, Rejected("too_large", str(error))))
        self._letters.succeeded(len(handed.deliveries))
        self._metrics.count(len(handed.deliveries))

    def _publish(
        self, records: Sequence[Record[ChunkedPage]], pages: Sequence[EmbeddedPage]
    ) -> list[tuple[Record[ChunkedPage], Delivery]]:
        deliveries = []
        for record, page in zip(records, pages, strict=True):
            value = encode(msgspec.structs.replace(page, chunks_offset=record.offset))
            message = Message(self._names.vectors, record.key, value, record.partition)
            try:
                deliveries.append((record, self._publisher.publish([message])))
            except RecordTooLarge as error:
                self._letters.send(_letter(record, Rejected("too_large", str(error))))
        return deliveries

    def _decode(self, raw: ConsumerRecord) -> ChunkedPage | None:
        try:
            page = decode(raw.value or b"", ChunkedPage)
        except Undecodable as error:
            self._reject(raw, Rejected(error.reason, str(error)))
            return None
        if page.source.partition != raw.partition:
            # Other faults of its source are found by the sink: this stage may not even look at `pages`.
            self._reject(raw, Rejected("forged_source", f"its source is {page.source}, its partition {raw.partition}"))
            return None
        return page

    def _reject(self, raw: ConsumerRecord, rejected: Rejected) -> None:
        letter = DeadLetter.of(raw, rejected, source_of(raw.value or b""))
        self._service.log.warning("dead letter", reason=letter.reason, error=letter.error)
        self._letters.send(letter)

    def _between(self) -> None:
        """Called between two passes of the device, so that a batch of minutes is not taken for a stall."""
        self._service.turned()
        if self._service.stopping.is_set():
            self._stop_seen = self._stop_seen or time.monotonic()
            if time.monotonic() - self._stop_seen > GRACE_SECONDS:
                raise Stopped

    def _observe(self, pages: Sequence[EmbeddedPage], seconds: float) -> None:
        stats = self._embedder.take_stats()
        self._metrics.took("pack", stats.pack_seconds)
        self._metrics.took("embed", seconds - stats.pack_seconds)
        for batch in stats.device_batches:
            self._metrics.device_batch(batch.tokens, batch.padded_tokens)
        if stats.out_of_memory:
            self._metrics.retry("out_of_memory", stats.out_of_memory)
        self._metrics.chunks.inc(sum(len(page.spans) for page in pages))


def _tokens(page: ChunkedPage) -> int:
    return 1 + sum(len(chunk.ids) for chunk in page.chunks) // page.id_bytes


def _letter(record: Record[ChunkedPage], rejected: Rejected) -> DeadLetter:
    return DeadLetter.of(record.raw, rejected, record.value.source)


if __name__ == "__main__":
    cli.run(app, "consumers.embed")
