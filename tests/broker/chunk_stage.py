"""The chunk stage of one test: real replicas on the test's Kafka, and what they have made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

from pipeline import dead_letters, topics
from pipeline.elimination import Mark, metadata_of, read_mark
from pipeline.errors import Fatal
from pipeline.kafka import Cluster, read_to_end
from pipeline.publisher import Message, Publisher
from pipeline.records import ChunkedPage, Page, decode, encode
from tests.waiting import wait_until

SESSION_SECONDS = 6


def page(number: int, text: str = "Some text. More text.", version: int = 1) -> Page:
    return Page(wiki="testwiki", page_id=str(number), title=f"Page {number}", text=text, revision=version)


@dataclass
class Stage:
    """The chunk stage of one test: its topics, and the replicas it has started."""

    cluster: Cluster
    env: dict[str, str]
    folder: Path
    corpus: topics.CorpusTopics
    model: topics.ModelTopics
    publisher: Publisher
    replicas: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, **env: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"chunk-{len(self.replicas)}.log").open("wb")
        replica = subprocess.Popen(
            [sys.executable, "-m", "consumers.chunk"], env={**self.env, **env}, stderr=log, stdout=log
        )
        log.close()
        self.replicas.append(replica)
        return replica

    def log(self, number: int = -1) -> str:
        return (self.folder / f"chunk-{number % len(self.replicas)}.log").read_text()

    def send(self, pages: list[Page]) -> None:
        self.publisher.publish([Message(self.corpus.pages, p.key.encode(), encode(p)) for p in pages]).wait()

    def send_raw(self, key: bytes, value: bytes | None) -> None:
        self.publisher.publish([Message(self.corpus.pages, key, value)]).wait()

    def lag(self) -> dict[int, int]:
        committed = self.cluster.committed(self.model.chunk_group, self.corpus.pages)
        ends = self.cluster.log(self.corpus.pages).ends
        return {p: end - committed.get(p, 0) for p, end in ends.items()}

    def await_no_lag(self, timeout_s: float = 60) -> None:
        def gone() -> bool:
            assert any(r.poll() is None for r in self.replicas), self.log()
            return not any(self.lag().values())

        wait_until(gone, "no lag", timeout_s)

    def chunked(self) -> list[tuple[int, ChunkedPage]]:
        """All messages of the chunks topic with their partitions."""
        return [(r.partition, decode(r.value, ChunkedPage)) for r in read_to_end(self.cluster, self.model.chunks)]

    def newest(self) -> dict[str, ChunkedPage]:
        """What the table would have: for each page the message with the greatest source."""
        found: dict[str, ChunkedPage] = {}
        for _, record in self.chunked():
            if record.key not in found or record.source >= found[record.key].source:
                found[record.key] = record
        return found

    def beside_position(self) -> tuple[int, Mark]:
        """The position in partition 0, and what the group keeps beside it."""
        found = self.cluster.admin.list_group_offsets([self.model.chunk_group])[self.model.chunk_group]
        at = found[TopicPartition(self.corpus.pages, 0)]
        return at.offset, read_mark(at.metadata)

    def put_beside_position(self, offset: int, mark: Mark) -> None:
        """As soon as the last replica is no member any more."""
        wanted = {TopicPartition(self.corpus.pages, 0): OffsetAndMetadata(offset, metadata_of(mark), -1)}

        def put() -> bool:
            with suppress(Fatal):
                self.cluster.call(lambda: self.cluster.admin.alter_group_offsets(self.model.chunk_group, wanted))
            return self.beside_position() == (offset, mark)

        wait_until(put, "the position is written")

    def letters(self) -> list[dead_letters.DeadLetter]:
        return [dead_letters.read(record)[1] for record in read_to_end(self.cluster, self.corpus.dead_letters)]


NewStage = Callable[..., Stage]
