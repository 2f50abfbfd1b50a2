"""The table's stage: batches of `vectors` into one LanceDB table, and that table's upkeep between them.

One process a table. A second one takes the table over, and the first ends with code 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial

import msgspec
from pydantic import Field

from pipeline.batches import BatchSource, Limit
from pipeline.cli import command, new_app, run
from pipeline.dead_letters import DeadLetters
from pipeline.errors import Fatal
from pipeline.kafka import Cluster
from pipeline.metrics import Metrics
from pipeline.model_files import RESOLVE_SECONDS, ModelFiles, resolve
from pipeline.offsets import topic_logs
from pipeline.publisher import Publisher
from pipeline.records import EmbeddedPage
from pipeline.service import Service, Watch
from pipeline.settings import ModelSettings, ServiceSettings, TableSettings
from pipeline.topics import CorpusTopics, ModelTopics, ensure_corpus, ensure_model, lance_group, topic_ids
from pipeline.version import version
from sinks.about import about_of, renewed
from sinks.contents import note_pages, note_stored
from sinks.fence import Fence, VectorType, Version
from sinks.intake import Intake, weight
from sinks.measure.process import MeasureProcess, measure_environment
from sinks.measure.settings import MeasureLimits
from sinks.measure.step import Measuring
from sinks.memory import bound_memory
from sinks.notebook import entry
from sinks.origin import Origins
from sinks.rows import VectorRule
from sinks.search.probe import search_probe
from sinks.seen import Seen
from sinks.start import PartitionOffsets, accepted, read_offsets, start_positions
from sinks.storage import READ_SECONDS, connect, has_table
from sinks.table import Table, Written
from sinks.trim import Trimmer
from sinks.upkeep import Upkeep, UpkeepRules


class LanceSettings(ModelSettings, TableSettings, MeasureLimits, ServiceSettings):
    """Settings of `python -m sinks.lance`."""

    vector_type: VectorType = Field("f32", description="Type of the vectors in a new table; f16 takes half the room.")
    batch_rows: int = Field(10_000, ge=1, le=200_000, description="Rows that are merged at once.")
    batch_seconds: float = Field(1.0, gt=0, le=60, description="Longest time that a page waits for its merge.")
    index_rows: int = Field(100_000, ge=1_000, description="Rows from which on the table gets a vector index.")
    optimize_rows: int = Field(200_000, ge=1, description="Rows written between two compactions.")
    optimize_seconds: float = Field(900, ge=1, description="Longest time between two compactions of a changing table.")
    lease_share: float = Field(
        1.0, ge=0, description="Bytes of old versions kept for readers with a lease, as a share of the table's."
    )
    measure: bool = Field(True, description="Measure the table for its searches when it has grown, and every night.")
    adopt: bool = Field(False, description="Once, after topics were made anew: fill this table on from the new ones.")
    rebuild: bool = Field(False, description="Once, where Kafka has records no more: begin where its log begins.")


app = new_app("Writes a model's vectors into a LanceDB table, and keeps that table fast.")


@command(app, LanceSettings)
def lance(settings: LanceSettings) -> int:
    """Writes a model's vectors into a LanceDB table, and keeps that table fast."""
    with Service("lance", settings) as service, closing(Cluster.connect(settings)) as cluster:
        sink = Sink(settings, service, cluster)
        with closing(sink.publisher), closing(sink.upkeep), sink.source as source:
            for batch in source.batches():
                service.ready = bool(source.assigned)
                if batch.next_offsets:
                    with service.metrics.timed("write"), source.work(batch):
                        written = sink.table.write(batch.values, batch.next_offsets, sink.impossible)
                    source.commit(batch.next_offsets)
                    sink.wrote(batch.values, written)
                sink.upkeep.turn()
                sink.trim()
    return 0


class Sink:
    """The parts of the loop, put together. Takes the table over before it joins the group."""

    def __init__(self, settings: LanceSettings, service: Service, cluster: Cluster) -> None:
        with service.step(f"finding the model {settings.model}", RESOLVE_SECONDS):
            corpus, topics, rule, files = _model(settings, cluster)
        tag, metrics, group = files.tag, service.metrics, lance_group(settings, settings.table)
        self._metrics = metrics
        metrics.build_info(model=tag, dtype=rule.vector_type)
        about = about_of(files, settings, rule.vector_type, version())
        fence = msgspec.structs.replace(_fence(cluster, corpus, topics, rule, tag), about=about)
        with service.step(f"opening table {settings.table}", 2 * READ_SECONDS):
            self.table = _table(
                settings, cluster, fence, rule, topics.vectors, metadata=entry(files), watch=service.step
            )
            note_stored(self.table)
            measuring = _measuring(settings, files, metrics)
            self.upkeep = Upkeep(
                self.table, _rules(settings), metrics, service.step, search=search_probe, measuring=measuring
            )
        self.publisher = Publisher(cluster, metrics, turned=service.turned)
        dead_letters = DeadLetters(self.publisher, corpus.dead_letters, metrics, settings.max_dead_letters, model=tag)
        self._origins = Origins(lambda: topic_logs(cluster, [corpus.pages]).get(corpus.pages))
        intake = Intake(self.table, dead_letters, metrics, origins=self._origins, adopt=settings.adopt)
        self._seen = Seen()
        self._trimmers = (
            Trimmer(cluster, topics.chunks, topics.embed_group, metrics, bound=lambda: self._seen.next_offsets),
            Trimmer(cluster, topics.vectors, group, metrics, bound=lambda: self.table.fence.offsets),
        )
        self._log = service.log.bind(table=settings.table)
        self.source: BatchSource[EmbeddedPage] = BatchSource(
            cluster,
            topics.vectors,
            group,
            decode=intake.decode,
            poison=dead_letters.poison,
            newer=dead_letters.newer,
            weigh=weight,
            limit=Limit(settings.batch_rows, settings.batch_seconds),
            positions=self._positions,
            stopping=service.stopping,
            metrics=metrics,
            turned=service.turned,
            watch=service.step,
            watchdog_s=settings.watchdog_seconds,
            max_letters_in_a_row=settings.max_dead_letters,
            group_instance_id=group,
        )

    def impossible(self, version: Version, partition: int) -> bool:
        """True when `pages` cannot have this version, which the table has."""
        return self._origins.is_beyond_end(version, partition, self.table.fence)

    def wrote(self, pages: Sequence[EmbeddedPage], written: Written) -> None:
        """Counts what became of a batch, and notes what it has of `chunks`."""
        self._seen.add(pages)
        note_pages(self.table, [page.page for page in pages if page.page is not None])
        self.upkeep.wrote(written)
        self._metrics.count(written.pages)
        self._metrics.count(written.stale, "stale")
        self._metrics.chunks.inc(written.rows)
        self._metrics.bytes_out.inc(written.bytes)

    def trim(self) -> None:
        """Lets Kafka delete what is done with, when it is time."""
        for trimmer in self._trimmers:
            trimmer.turn()

    def _positions(self, committed: Mapping[int, int | None], log_starts: Mapping[int, int]) -> Mapping[int, int]:
        logs = {p: PartitionOffsets(offset, log_starts[p]) for p, offset in committed.items()}
        start = start_positions(self.table.fence.offsets, logs)
        for note in start.notes:
            self._log.warning(note)
        return start.positions


def _model(settings: LanceSettings, cluster: Cluster) -> tuple[CorpusTopics, ModelTopics, VectorRule, ModelFiles]:
    model = resolve(settings, weights=False)
    if model.dimension is None:
        raise Fatal(f"--model {settings.model}: its files do not say the dimension of its vectors")
    rule = VectorRule(model.dimension, settings.vector_type, model.normalized, model.metric)
    return ensure_corpus(cluster, settings), ensure_model(cluster, settings, model.tag), rule, model


def _fence(cluster: Cluster, corpus: CorpusTopics, topics: ModelTopics, rule: VectorRule, tag: str) -> Fence:
    """The fence of a table that has nothing yet."""
    ids = topic_ids(cluster, [corpus.pages, topics.vectors])
    return Fence(
        model=tag,
        dimension=rule.dimension,
        vector_type=rule.vector_type,
        vectors=ids[topics.vectors],
        pages=(ids[corpus.pages],),
    )


def _table(
    settings: LanceSettings,
    cluster: Cluster,
    empty: Fence,
    rule: VectorRule,
    topic: str,
    *,
    metadata: Mapping[str, str],
    watch: Watch,
) -> Table:
    """The table, made or taken over, with a fence from which every record to come can be read."""
    group = lance_group(settings, settings.table)
    bound_memory(settings.lance_location)
    database = connect(settings.lance_location)
    if not has_table(database, settings.table):
        start = start_positions(None, read_offsets(cluster, group, topic), rebuild=settings.rebuild)
        return Table.create(database, settings.table, empty.moved(start.rebuilt), rule, metadata=metadata, watch=watch)

    def readable(fence: Fence) -> Fence:
        fence = accepted(fence, empty.pages[0], empty.vectors, adopt=settings.adopt)
        start = start_positions(fence.offsets, read_offsets(cluster, group, topic), rebuild=settings.rebuild)
        about = renewed(fence.about, empty.about) if empty.about is not None else fence.about
        return msgspec.structs.replace(fence.reset(start.rebuilt), about=about)

    return Table.take_over(database, settings.table, empty, rule, readable, watch=watch)


def _measuring(settings: LanceSettings, files: ModelFiles, metrics: Metrics) -> Measuring:
    """The measuring of the table beside this process, which has no torch and does not wait."""
    environment = measure_environment(settings, files)
    start = partial(MeasureProcess, environment, settings.measure_seconds) if settings.measure else None
    return Measuring(start, metrics)


def _rules(settings: LanceSettings) -> UpkeepRules:
    return UpkeepRules(
        optimize_rows=settings.optimize_rows,
        optimize_seconds=settings.optimize_seconds,
        index_rows=settings.index_rows,
        lease_share=settings.lease_share,
    )


if __name__ == "__main__":
    run(app, "sinks.lance")
