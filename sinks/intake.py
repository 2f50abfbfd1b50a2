"""What comes out of `vectors`, checked before it is merged: afterwards nobody would find a bad vector again."""

from __future__ import annotations

import structlog
from kafka.consumer.fetcher import ConsumerRecord

from pipeline.dead_letters import DeadLetter, DeadLetters
from pipeline.metrics import FORGED, Metrics
from pipeline.records import EmbeddedPage, Undecodable, decode, source_of
from sinks.origin import UNKNOWN_TOPIC, Origins
from sinks.page_faults import Fault, fault
from sinks.row_bytes import BYTES_PER_ROW, RowBytes
from sinks.table import Table


class Intake:
    """Decodes messages, sends bad ones to the dead letters, and waits until they are there."""

    def __init__(
        self,
        table: Table,
        dead_letters: DeadLetters,
        metrics: Metrics,
        *,
        origins: Origins,
        adopt: bool,
    ) -> None:
        self._table = table
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._origins = origins
        self._adopt = adopt
        self._gone: set[str] = set()

    def decode(self, message: ConsumerRecord) -> EmbeddedPage | None:
        """The page in a message, or None for one that is dealt with.

        Raises:
            SchemaTooNew: a newer Cirrostream wrote it.
            UnknownPagesTopic: `pages` was made anew, and the table has not accepted that.
        """
        page = None
        try:
            page = decode(message.value or b"", EmbeddedPage)
            wrong = _wrong_key(message, page) or fault(page, self._table.rule) or self._wrong_origin(message, page)
        except Undecodable as error:
            wrong = Fault(error.reason, str(error))
        if page is not None and wrong is not None and self._is_left_out(page, wrong):
            return None
        if wrong is not None:
            self._dead_letters.send(_letter(message, page, wrong))
            return None
        self._dead_letters.succeeded()
        return page

    def _wrong_origin(self, message: ConsumerRecord, page: EmbeddedPage) -> Fault | None:
        return self._origins.fault(page.source, message.partition, self._table.fence)

    def _is_left_out(self, page: EmbeddedPage, wrong: Fault) -> bool:
        """Counts a page of a topic that is no more, which `--adopt` leaves out instead of making it a dead letter."""
        if not self._adopt or wrong.reason != UNKNOWN_TOPIC:
            return False
        topic_id = page.source.topic_id
        if topic_id not in self._gone:
            self._gone.add(topic_id)
            structlog.get_logger().warning("pages of a topic that is no more are left out", topic_id=topic_id)
        self._metrics.drop("pages_topic_gone")
        return True


def weight(page: EmbeddedPage) -> int:
    """The weight of a page in a batch: its rows, or more when they will be large."""
    return max(1, len(page.spans), RowBytes.of(page).total // BYTES_PER_ROW)


def _wrong_key(message: ConsumerRecord, page: EmbeddedPage) -> Fault | None:
    if message.key == page.key.encode():
        return None
    return Fault("bad_key", f"the message has key {message.key!r}, its page {page.key!r}")


def _letter(message: ConsumerRecord, page: EmbeddedPage | None, wrong: Fault) -> DeadLetter:
    return DeadLetter(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key or b"",
        value=message.value,
        reason=wrong.reason,
        error=wrong.error,
        # A source that is not true must not pass for the version of what is missing.
        source=None if wrong.reason in FORGED else source_of(message.value or b"") if page is None else page.source,
    )
