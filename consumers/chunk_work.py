"""Turns a batch of the `pages` topic into messages for the chunks topic, and dead letters for faulty records."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from consumers.chunk_limits import TRIES_ALONE, most_seconds, seconds_for
from consumers.chunk_process import ProcessDied
from consumers.chunk_protocol import Answer, Made, PageRecord
from consumers.vocabulary import NOTHING_UNKNOWN, Unknown
from pipeline.dead_letters import DeadLetter, DeadLetters
from pipeline.metrics import Metrics
from pipeline.publisher import Message
from pipeline.records import SchemaTooNew, Source
from pipeline.rejected import NEWER_SCHEMA, Rejected
from pipeline.upgrade_grace import Grace

PAUSE_SECONDS = 0.5
"""Between the tries of a page alone, doubled each time: a kill from outside must not make it a dead letter."""


class Chunking(Protocol):
    """`ChunkProcess`, as a batch needs it."""

    def ask(self, records: Sequence[PageRecord], seconds: float) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """The message for one record; `letter` when it is a dead letter."""

    record: PageRecord
    message: Message
    letter: DeadLetter | None = None
    chunks: int = 0
    tokens: int = 0
    unknown: Unknown = NOTHING_UNKNOWN


class ChunkWork:
    """Turns records into outcomes, in order, and finds the page that ends the process which chunks. For one thread.

    A batch whose process died goes page by page. A page is a dead letter when `TRIES_ALONE` processes died over it
    alone, so that neither its neighbours nor a kill from outside can make it one.
    """

    def __init__(
        self,
        process: Chunking,
        *,
        topic_id: str,
        chunks_topic: str,
        max_bytes: int,
        letters: DeadLetters,
        metrics: Metrics,
        stopping: threading.Event,
        grace: Grace,
    ) -> None:
        self.max_bytes = max_bytes
        self.grace = grace
        self.may_take = 0.0
        """Seconds within which what is in hand will have an outcome; 0 with nothing in hand."""
        self._process = process
        self._topic_id = topic_id
        self._chunks_topic = chunks_topic
        self._letters = letters
        self._metrics = metrics
        self._stopping = stopping
        self._to_go_alone = 0
        self._log: Any = structlog.get_logger().bind(stage="chunk")

    def chunk(self, records: Sequence[PageRecord]) -> list[Outcome]:
        """The outcomes of the first of these records: of all, or of one while the poison page is looked for.

        Raises:
            SchemaTooNew: a record needs a newer release, and an upgrade has not had its time yet.
            CirrostreamError: the stage must not go on.
        """
        if not records:
            return []
        self.may_take = most_seconds(records)
        try:
            answer = self._answer(records)
        finally:
            self.may_take = 0.0
        done = records[: len(answer.results)]
        self._metrics.batch(len(done))
        self._metrics.bytes_in.inc(sum(record.size for record in done))
        return [self._outcome(record, result) for record, result in zip(done, answer.results, strict=True)]

    def too_large(self, outcome: Outcome, error: str) -> Outcome:
        """The dead letter for a chunk message that the broker has refused."""
        return self._dead(outcome.record, Rejected("too_large", error))

    def count(self, *outcomes: Outcome) -> None:
        """Counts outcomes that Kafka has, in their order. Raises Fatal when the dead letters are too many."""
        self._metrics.bytes_out.inc(sum(outcome.message.payload for outcome in outcomes))
        good = [outcome for outcome in outcomes if outcome.letter is None]
        self._metrics.count(len(good))
        self._metrics.chunks.inc(sum(outcome.chunks for outcome in good))
        self._metrics.tokens.inc(sum(outcome.tokens for outcome in good))
        self._metrics.unknown_tokens.inc(sum(outcome.unknown.tokens for outcome in good))
        self._metrics.characters.inc(sum(outcome.unknown.of_characters for outcome in good))
        self._metrics.unknown_characters.inc(sum(outcome.unknown.characters for outcome in good))
        for outcome in outcomes:
            if outcome.letter is None:
                self._letters.succeeded()
            else:
                self._letters.count(outcome.letter)

    def _answer(self, records: Sequence[PageRecord]) -> Answer:
        if not self._to_go_alone:
            try:
                return self._ask(records)
            except ProcessDied as died:
                self._died(died, f"{len(records)} pages, which go one by one now")
                self._to_go_alone = len(records)
        self._to_go_alone -= 1
        return self._alone(records[0])

    def _alone(self, record: PageRecord) -> Answer:
        for tried in itertools.count(1):
            try:
                return self._ask([record])
            except ProcessDied as died:
                self._died(died, f"{record} alone, {tried} of {TRIES_ALONE} times")
                if tried == TRIES_ALONE:
                    how = f"the process that chunks {died} over this page alone, as {TRIES_ALONE - 1} did before it"
                    return Answer([Rejected("timed_out" if died.timed_out else "killed", how)])
            self._stopping.wait(PAUSE_SECONDS * 2 ** (tried - 1))
        raise AssertionError("count has no end")

    def _ask(self, records: Sequence[PageRecord]) -> Answer:
        started, decoding = time.perf_counter(), 0.0
        try:
            answer = self._process.ask(records, seconds_for(records))
            decoding = answer.decode_seconds
            self._metrics.took("decode", decoding)
        finally:
            self._metrics.took("chunk", time.perf_counter() - started - decoding)
        return answer

    def _died(self, died: ProcessDied, over: str) -> None:
        self._metrics.retry("chunk")
        self._log.warning(f"the process that chunks {died} over {over}")

    def _outcome(self, record: PageRecord, result: Made | Rejected) -> Outcome:
        if isinstance(result, Rejected):
            if result.reason == NEWER_SCHEMA and not self.grace.has_passed():
                raise SchemaTooNew(f"{record}: {result.detail}")
            return self._dead(record, result)
        # To the partition it came from: a page's messages stay in order in all topics.
        message = Message(self._chunks_topic, record.key, result.value, record.partition)
        if message.size > self.max_bytes:
            detail = f"{message.size} bytes, {message.topic} takes {self.max_bytes}"
            return self._dead(record, Rejected("too_large", detail))
        return Outcome(record, message, None, result.chunks, result.tokens, result.unknown)

    def _dead(self, record: PageRecord, rejected: Rejected) -> Outcome:
        place = Source(self._topic_id, record.partition, record.offset)
        attempts = TRIES_ALONE if rejected.reason in ("killed", "timed_out") else 1
        letter = DeadLetter.of(record, rejected, attempts=attempts, place=place)
        return Outcome(record, self._letters.message(letter), letter)
