"""What becomes of one batch of the `pages` topic: messages for the chunks topic, and dead letters for what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from consumers.chunking import Chunked, Chunker
from consumers.tokens import NOTHING_UNKNOWN, Unknown
from pipeline.dead_letters import DeadLetter, DeadLetters
from pipeline.errors import is_fault
from pipeline.metrics import Metrics
from pipeline.publisher import Message
from pipeline.records import ChunkedPage, Page, Source, Undecodable, decode, encode, valid_page_id, valid_wiki


@dataclass(frozen=True, slots=True)
class PageRecord:
    """A record of `pages` as Kafka has it; no value: the page is deleted."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes | None

    @classmethod
    def of(cls, message: Any) -> PageRecord:
        """The record in a faust message."""
        return cls(message.topic, message.partition, message.offset, message.key or b"", message.value)

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to send for one record; `letter` when it is a dead letter."""

    record: PageRecord
    message: Message
    letter: DeadLetter | None = None
    chunks: int = 0
    tokens: int = 0
    unknown: Unknown = NOTHING_UNKNOWN


class ChunkWork:
    """Turns records into outcomes, one for each, in order. CPU only; for a thread of its own."""

    def __init__(
        self,
        chunker: Chunker,
        *,
        topic_id: str,
        chunks_topic: str,
        max_bytes: int,
        letters: DeadLetters,
        metrics: Metrics,
    ) -> None:
        self.max_bytes = max_bytes
        self._chunker = chunker
        self._topic_id = topic_id
        self._chunks_topic = chunks_topic
        self._letters = letters
        self._metrics = metrics

    def chunk(self, records: Sequence[PageRecord]) -> list[Outcome]:
        """The outcome of each record.

        Raises:
            SchemaTooNew: a record needs a newer version of this program.
        """
        if not records:
            return []
        self._metrics.batch(len(records))
        self._metrics.bytes_in.inc(sum(len(record.key) + len(record.value or b"") for record in records))
        with self._metrics.timed("decode"):
            read = [self._read(record) for record in records]
        with self._metrics.timed("chunk"):
            chunked = iter(self._chunk_all([page for page in read if isinstance(page, Page)]))
            return [
                self._finished(record, next(chunked) if isinstance(what, Page) else what)
                for record, what in zip(records, read, strict=True)
            ]

    def too_large(self, outcome: Outcome, error: str) -> Outcome:
        """The dead letter for a chunk message that the broker has refused."""
        return self._dead(outcome.record, "too_large", error)

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

    def _read(self, record: PageRecord) -> Page | DeadLetter | None:
        try:
            key = record.key.decode()
            wiki, _, page_id = key.partition(":")
            if not (valid_wiki(wiki) and valid_page_id(page_id)):
                raise Undecodable(f"the key {key[:300]!r} is not WIKI:PAGE_ID")
            page = None if record.value is None else decode(record.value, Page)
            if page is not None and page.key != key:
                raise Undecodable(f"the key is {key!r}, the page says {page.key!r}")
        except (Undecodable, UnicodeDecodeError) as error:
            return self._letter(record, "undecodable", str(error))
        return page

    def _chunk_all(self, pages: Sequence[Page]) -> list[Chunked | str]:
        """The chunks of each page, or the error of one that cannot be chunked even alone."""
        if not pages:
            return []
        try:
            return list(self._chunker.chunk_all(pages))
        except BaseException as error:
            if not is_fault(error):
                raise
            if len(pages) == 1:
                return [f"{type(error).__name__}: {error}"]
        return [chunked for page in pages for chunked in self._chunk_all([page])]

    def _finished(self, record: PageRecord, what: Chunked | DeadLetter | str | None) -> Outcome:
        source = Source(self._topic_id, record.partition, record.offset)
        if isinstance(what, DeadLetter):
            return Outcome(record, self._letters.message(what), what)
        if isinstance(what, str):
            return self._dead(record, "unchunkable", what)
        if what is None:
            page = ChunkedPage(key=record.key.decode(), source=source, page=None)
            return Outcome(record, self._message(record, page))
        message = self._message(record, what.record(source))
        if message.size > self.max_bytes:
            return self._dead(record, "too_large", f"{message.size} bytes, {message.topic} takes {self.max_bytes}")
        return Outcome(record, message, chunks=len(what.chunks), tokens=what.tokens, unknown=what.unknown)

    def _message(self, record: PageRecord, page: ChunkedPage) -> Message:
        """To the partition it came from: a page's messages stay in order in all topics."""
        return Message(self._chunks_topic, record.key, encode(page), record.partition)

    def _dead(self, record: PageRecord, reason: str, error: str) -> Outcome:
        letter = self._letter(record, reason, error)
        return Outcome(record, self._letters.message(letter), letter)

    def _letter(self, record: PageRecord, reason: str, error: str) -> DeadLetter:
        source = Source(self._topic_id, record.partition, record.offset)
        return DeadLetter(
            record.topic,
            record.partition,
            record.offset,
            record.key,
            record.value,
            reason,
            f"{record}: {error}",
            source=source,
        )
