"""Compares a table with `pages`, page by page and version by version.

It reads the whole corpus twice and the whole table once. Its memory: about 80 bytes a page while it sorts what `pages`
says, later 20 a page and 8 a row; 0.6 GB for 7 million pages. It changes nothing and may run beside the writer;
what is still on its way then fails the proof, and the lag says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from pipeline import cli
from pipeline.errors import CheckFailed, Fatal, UsageError
from pipeline.kafka import Cluster, read_to_end
from pipeline.model_files import ModelFiles, resolve
from pipeline.settings import ModelSettings, TableSettings
from pipeline.topics import CorpusTopics, ModelTopics, corpus_topics, lance_group, model_topics, topic_ids
from sinks.fence import Fence
from sinks.pinned import pinned
from sinks.reader import Reader, refuse_other_model
from sinks.verify.corpus import CorpusCheck
from sinks.verify.derived import derived_check
from sinks.verify.kafka import fence_check, lag_check, offsets_check
from sinks.verify.letters import Letters, Pipeline
from sinks.verify.manifests import manifest_check
from sinks.verify.pages import newest_pages
from sinks.verify.report import Check, VerifyReport
from sinks.verify.rows import RowScan

DEADLINE_S = 24 * 3600

Say = Callable[[str], None]


class VerifySettings(ModelSettings, TableSettings):
    """Settings of `python -m sinks.verify`."""

    json_output: bool = Field(False, description="One JSON document on stdout.", json_schema_extra={cli.FLAG: "--json"})
    repair: bool = Field(False, description="Send missing or bad pages to `pages` again, then run the pipeline.")
    quality: bool = Field(
        False, description="Ask questions made from the table, too: nDCG@10 and recall@10 of each mode of search."
    )
    report: Path | None = Field(None, description="File to write the report to: .md or .json.")


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of the comparison: the topics, and the table as it was when this began."""

    cluster: Cluster
    settings: VerifySettings
    files: ModelFiles
    corpus: CorpusTopics
    model: ModelTopics
    pages_id: str
    vectors_id: str
    reader: Reader
    fence: Fence
    committed: dict[int, int]
    """Read before the table's version: what is committed by then is in it."""

    @classmethod
    @contextmanager
    def found(cls, cluster: Cluster, settings: VerifySettings) -> Iterator[Subject]:
        """Raises UsageError when there is no table, no corpus, or a table of another model."""
        files = resolve(settings, weights=False)
        corpus, model = corpus_topics(settings), model_topics(settings, files.tag)
        try:
            ids = topic_ids(cluster, [corpus.pages, corpus.dead_letters, model.chunks, model.vectors])
        except Fatal as error:
            raise UsageError(f"nothing to compare with on {cluster.bootstrap}: {error}") from None
        committed = cluster.committed(lance_group(settings, settings.table), model.vectors)
        # The table before the corpus: then it cannot have a version that the corpus does not know yet.
        with pinned(settings, "sinks.verify") as reader:
            try:
                fence = reader.fence()
            except Fatal as error:
                raise CheckFailed(f"not verified: {error}") from None
            refuse_other_model(fence, files.tag, settings.table)
            pages_id, vectors_id = ids[corpus.pages], ids[model.vectors]
            yield cls(cluster, settings, files, corpus, model, pages_id, vectors_id, reader, fence, committed)

    @property
    def place(self) -> int:
        """Of the current `pages` topic in the fence's list; past its end when the fence does not know it."""
        known = self.fence.pages
        return known.index(self.pages_id) if self.pages_id in known else len(known)

    @property
    def dimension(self) -> int:
        """Of the vectors that the table has, whatever the fence says."""
        return int(self.reader.lance.schema.field("vector").type.list_size)

    @property
    def pipeline(self) -> Pipeline:
        """The topics that a dead letter must be of to account for a page."""
        topics = frozenset({self.corpus.pages, self.model.chunks, self.model.vectors})
        return Pipeline(self.corpus.pages, self.pages_id, self.files.tag, topics)

    @property
    def groups(self) -> dict[str, str]:
        """The three groups, and the topic that each reads."""
        return {
            self.model.chunk_group: self.corpus.pages,
            self.model.embed_group: self.model.chunks,
            lance_group(self.settings, self.settings.table): self.model.vectors,
        }


def verified(
    cluster: Cluster, settings: VerifySettings, say: Say = lambda line: None
) -> tuple[VerifyReport, set[bytes]]:
    """All checks, made; and the pages that a repair must send again.

    Raises:
        UsageError: there is nothing to compare.
        CheckFailed: the table has no fence that can be read, or several.
        TryAgain: Kafka or the table's storage does not answer.
    """
    with Subject.found(cluster, settings) as subject:
        return _examined(subject, say)


def _examined(subject: Subject, say: Say) -> tuple[VerifyReport, set[bytes]]:
    start = time.perf_counter()
    cluster, settings = subject.cluster, subject.settings
    checks = _kafka_checks(subject)
    letters = Letters.read(read_to_end(cluster, subject.corpus.dead_letters, deadline_s=DEADLINE_S), subject.pipeline)
    say("reading pages")
    pages = newest_pages(read_to_end(cluster, subject.corpus.pages, deadline_s=DEADLINE_S))
    corpus = CorpusCheck(subject.reader, pages, subject.place, letters, settings.unit)
    corpus.run(
        read_to_end(cluster, subject.corpus.pages, deadline_s=DEADLINE_S),
        lambda done: say(f"comparing pages: {done:,} of {len(pages):,}"),
    )
    scan = RowScan(pages, subject.place, corpus.accounted, subject.dimension, subject.files.normalized)
    scan.run(subject.reader, lambda rows: say(f"reading rows: {rows:,}"))
    progress = read_to_end(cluster, subject.corpus.progress, deadline_s=DEADLINE_S)
    manifests = manifest_check(progress, pages, subject.pages_id)
    derived = derived_check(subject.reader)
    checks = [corpus.check(), *scan.checks(), derived, manifests, *checks, letters.check()]
    report = VerifyReport(
        ok=all(check.verdict != "failed" for check in checks),
        table=settings.table,
        model=subject.files.tag,
        pages=pages.live,
        rows=scan.rows,
        seconds=round(time.perf_counter() - start, 2),
        checks=tuple(checks),
    )
    return report, corpus.faulty | scan.faulty


def _kafka_checks(subject: Subject) -> list[Check]:
    reader, cluster = subject.reader, subject.cluster
    fences = reader.read(lambda lance: int(lance.count_rows("n < 0")))
    return [
        fence_check(subject.fence, fences, subject.pages_id, subject.vectors_id, subject.dimension),
        offsets_check(subject.fence, subject.committed, cluster.log(subject.model.vectors).ends),
        lag_check(cluster, subject.groups),
    ]
