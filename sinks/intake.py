"""Checks records of `vectors` before they are merged: afterwards nobody would find a bad vector again."""

from __future__ import annotations

import structlog
from kafka.consumer.fetcher import ConsumerRecord

from pipeline.dead_letters import DeadLetter, DeadLetters
from pipeline.metrics import Metrics
from pipeline.records import EmbeddedPage, Undecodable, decode, source_of
from pipeline.rejected import Rejected
from sinks.origin import UNKNOWN_TOPIC, Origins
from sinks.page_faults import rejection
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
            rejected = (
                _wrong_key(message, page) or rejection(page, self._table.rule) or self._wrong_origin(message, page)
            )
        except Undecodable as error:
            rejected = Rejected(error.reason, str(error))
        if page is not None and rejected is not None and self._is_left_out(page, rejected):
            return None
        if rejected is not None:
            self._dead_letters.send(_letter(message, page, rejected))
            return None
        self._dead_letters.succeeded()
        return page

    def _wrong_origin(self, message: ConsumerRecord, page: EmbeddedPage) -> Rejected | None:
        return self._origins.rejection(page.source, message.partition, self._table.fence)

    def _is_left_out(self, page: EmbeddedPage, rejected: Rejected) -> bool:
        """Counts a page of a topic that is no more, which `--adopt` leaves out instead of making it a dead letter."""
        if not self._adopt or rejected.reason != UNKNOWN_TOPIC:
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


def _wrong_key(message: ConsumerRecord, page: EmbeddedPage) -> Rejected | None:
    if message.key == page.key.encode():
        return None
    return Rejected("bad_key", f"the message has key {message.key!r}, its page {page.key!r}")


def _letter(message: ConsumerRecord, page: EmbeddedPage | None, rejected: Rejected) -> DeadLetter:
    source = source_of(message.value or b"") if page is None else page.source
    return DeadLetter.of(message, rejected, source)
