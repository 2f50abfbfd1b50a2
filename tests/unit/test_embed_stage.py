"""What the embed stage makes of records that fail: one is a dead letter, all of them are our fault."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumers.embed import EmbedStage
from consumers.embedder import Embedded
from consumers.passes import EmbeddingFailed
from pipeline.batches import Batch, Record
from pipeline.dead_letters import DeadLetters
from pipeline.errors import Exit, Fatal
from pipeline.metrics import Metrics
from pipeline.publisher import Message, Publisher
from pipeline.records import Chunk, ChunkedPage, EmbeddedPage, Page, Source
from pipeline.topics import ModelTopics


class AcknowledgingPublisher:
    """Has every message at once."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    def publish(self, messages: Sequence[Message]) -> Any:
        self.topics += [message.topic for message in messages]
        return SimpleNamespace(wait=lambda: None)


def stage(publisher: AcknowledgingPublisher) -> EmbedStage:
    metrics = Metrics("embed")
    service = SimpleNamespace(metrics=metrics, ready=False, stopping=threading.Event(), turned=lambda: None)
    letters = DeadLetters(cast("Publisher", publisher), "dead_letters", metrics, 100)
    names = cast("ModelTopics", SimpleNamespace(chunks="chunks.m", vectors="vectors.m", embed_group="embed.m"))
    return EmbedStage(cast("Any", service), cast("Any", None), cast("Publisher", publisher), letters, names)


def batch(pages: int) -> Batch[ChunkedPage]:
    records = [
        Record(
            ChunkedPage(
                key=f"w:{n}",
                source=Source("pages-id", 0, n),
                page=Page(wiki="w", page_id=str(n), title="t", text="x"),
                chunks=(Chunk(0, 0, 1, b"\1\0"),),
            ),
            key=f"w:{n}".encode(),
            partition=0,
            offset=n,
            raw=b"raw",
        )
        for n in range(pages)
    ]
    return Batch(records, {0: pages})


def embedded(record: Record[ChunkedPage]) -> EmbeddedPage:
    return EmbeddedPage(key=record.value.key, source=record.value.source, page=record.value.page)


def test_a_record_that_fails_alone_is_a_dead_letter_and_its_neighbours_have_their_vectors() -> None:
    publisher, whole = AcknowledgingPublisher(), batch(10)
    good = [embedded(record) for n, record in enumerate(whole.records) if n != 4]
    handed = stage(publisher).hand_over(whole, Embedded(good, [(4, EmbeddingFailed("model_failed", "KeyError: 4"))]))
    assert publisher.topics == ["dead_letters", *["vectors.m"] * 9]
    assert handed.next_offsets == {0: 10}


def test_a_fault_of_every_record_stops_the_stage_before_the_corpus_is_in_the_dead_letters() -> None:
    publisher, whole = AcknowledgingPublisher(), batch(500)
    failed = [(n, EmbeddingFailed("model_failed", "KeyError: 'x'")) for n in range(500)]
    with pytest.raises(Fatal, match=r"101 records in a row became dead letters.*model_failed") as caught:
        stage(publisher).hand_over(whole, Embedded([], failed))
    assert caught.value.exit_code is Exit.FATAL
    assert publisher.topics == ["dead_letters"] * 101
