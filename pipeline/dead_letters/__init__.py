"""Dead letters: records that no restart can help, kept whole, with the reason, and counted.

A dead letter is awaited before its record is committed, so that a page is in the table or here at any moment. Many of
them in a row mean that the fault is ours, not the input's: then going on would empty the corpus into the dead
letters.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Protocol, Self

from kafka.consumer.fetcher import ConsumerRecord

from pipeline.addresses import without_secrets
from pipeline.dead_letters.headers import MAX_CHARACTERS, Headers
from pipeline.elimination import DEATHS
from pipeline.errors import Fatal
from pipeline.metrics import FORGED, Metrics
from pipeline.publisher import Message, Publisher
from pipeline.records import Source, source_of
from pipeline.rejected import NEWER_SCHEMA, Rejected
from pipeline.settings import MIB

MAX_VALUE_BYTES = 24 * MIB
"""Larger originals are kept as position and hash."""

MIN_FOR_SHARE = 10_000
MAX_SHARE = 0.01


class Original(Protocol):
    """A record as Kafka has it, or a document that has a place in a source."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that this stage could not process.

    `partition` and `offset` are where it stands in `topic`; `source` is its page's version, where the record could be
    read that far.
    """

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes | None
    reason: str
    error: str
    source: Source | None = None
    attempts: int = 1
    model: str = ""
    """The tag of the model and settings whose pipeline could not process it; empty before `pages`, and of old."""
    odd: str = ""
    """The fault in the headers it was read from: such a letter is listed and counted, and believed in nothing."""

    @classmethod
    def of(
        cls,
        record: Original,
        rejected: Rejected,
        claimed: Source | None = None,
        attempts: int = 1,
        *,
        place: Source | None = None,
    ) -> Self:
        """The letter of a record that goes no further.

        Args:
            claimed: its page's version, by its own word: that of a forged one must not pass for the version of what is
                missing, and is left out.
            place: its page's version, by its place in `pages`, which nobody can forge.
        """
        return cls(
            record.topic,
            record.partition,
            record.offset,
            record.key or b"",
            record.value,
            rejected.reason,
            f"{record.topic}-{record.partition}@{record.offset}: {rejected.detail}",
            place or (None if rejected.reason in FORGED else claimed),
            attempts,
        )

    def version(self, pages: str, pages_id: str) -> Source | None:
        """The page's version in the topic `pages`, whose id is `pages_id`; None when the record could not tell."""
        if self.source is None and self.topic == pages:
            return Source(pages_id, self.partition, self.offset)
        return self.source

    def headers(self, stage: str) -> tuple[tuple[str, bytes], ...]:
        """Kafka headers, all UTF-8 text."""
        fields = {
            "stage": stage,
            "reason": self.reason,
            "error": without_secrets(self.error)[:MAX_CHARACTERS],
            "topic": self.topic,
            "partition": str(self.partition),
            "offset": str(self.offset),
            "attempts": str(self.attempts),
        }
        if self.model:
            fields["model"] = self.model
        if self.source is not None:
            fields["source"] = f"{self.source.topic_id}/{self.source.partition}/{self.source.offset}"
        if self.value is not None and len(self.value) > MAX_VALUE_BYTES:
            fields["size"] = str(len(self.value))
            fields["sha256"] = hashlib.sha256(self.value).hexdigest()
        return tuple((name, value.encode("utf-8", "replace")) for name, value in fields.items())


def read(record: ConsumerRecord) -> tuple[str, DeadLetter]:
    """The stage and the dead letter in a record of the `dead_letters` topic, whatever its headers are."""
    headers = Headers(record.headers or ())
    stage = headers.text("stage")
    letter = DeadLetter(
        topic=headers.text("topic"),
        partition=headers.number("partition"),
        offset=headers.number("offset"),
        key=record.key or b"",
        value=record.value,
        reason=headers.text("reason"),
        error=headers.text("error"),
        source=headers.source(),
        attempts=headers.number("attempts", missing=1),
        model=headers.text("model") if "model" in headers else "",
    )
    return stage, replace(letter, odd=headers.odd) if headers.odd else letter


def is_whole(record: ConsumerRecord) -> bool:
    """True when the original's bytes are in this record of the `dead_letters` topic: larger ones are not."""
    return "size" not in Headers(record.headers or ())


class DeadLetters:
    """Sends dead letters, and ends the process when they are too many to be the input's fault.

    Without a publisher only `message` and `count` work: for a stage with a producer of its own. A stage behind `pages`
    says with `model` whose pipeline it is of: what one model's cannot process, another's may.
    """

    def __init__(
        self, publisher: Publisher | None, topic: str, metrics: Metrics, max_in_a_row: int, *, model: str = ""
    ) -> None:
        self._model = model
        self._publisher = publisher
        self._topic = topic
        self._metrics = metrics
        self._max_in_a_row = max_in_a_row
        self._in_a_row = 0
        self._sent = 0
        self._seen = 0

    def send(self, letter: DeadLetter) -> None:
        """Returns when all replicas have the letter.

        Raises:
            Fatal: more than `max_in_a_row` without a success between them, or more than 1 % of at least 10,000.
        """
        if self._publisher is None:
            raise TypeError("made without a publisher: use `message` and `count`")
        self._publisher.publish([self.message(letter)]).wait()
        self.count(letter)

    def poison(self, record: ConsumerRecord, deaths: int) -> None:
        """Sends a record that ends its process, as `send` does: unread, but for its version.

        Even that is read the first time only: should it be what ends the process, the next one leaves it.
        """
        detail = (
            f"{deaths} processes ended with it alone in hand: killed, crashed, or hung for longer than its size allows"
        )
        source = source_of(record.value or b"") if deaths == DEATHS else None
        self.send(DeadLetter.of(record, Rejected("killed", detail), source, deaths))

    def newer(self, record: ConsumerRecord, error: str) -> None:
        """Sends a record of a newer schema, of which nothing can be read: a newer release tries it again."""
        self.send(DeadLetter.of(record, Rejected(NEWER_SCHEMA, error)))

    def message(self, letter: DeadLetter) -> Message:
        """The letter as a message, for a stage with a producer of its own; it must await it, then `count` it."""
        value = letter.value
        if value is not None and len(value) > MAX_VALUE_BYTES:
            value = None
        headers = replace(letter, model=self._model).headers(self._metrics.stage)
        return Message(self._topic, letter.key, value if value is not None else b"", headers=headers)

    def count(self, letter: DeadLetter) -> None:
        """Counts an acknowledged letter against the limits, unless nothing of ours can have led to it."""
        self._metrics.dead_letter(letter.reason)
        if letter.reason in FORGED:
            return
        self._in_a_row += 1
        self._sent += 1
        self._seen += 1
        if self._in_a_row > self._max_in_a_row:
            raise Fatal(self._verdict(f"{self._in_a_row} records in a row", letter))
        if self._seen >= MIN_FOR_SHARE and self._sent > MAX_SHARE * self._seen:
            raise Fatal(self._verdict(f"{self._sent} of {self._seen} records", letter))

    def succeeded(self, records: int = 1) -> None:
        """Counts records that were processed."""
        if records:
            self._in_a_row = 0
            self._seen += records

    def _verdict(self, how_many: str, last: DeadLetter) -> str:
        return (
            f"{self._metrics.stage}: {how_many} became dead letters, the last one ({last.reason}) {last.error}; "
            "the fault is probably not theirs (--max-dead-letters raises the limit)"
        )
