"""What comes out of `vectors`, checked before it is merged: afterwards nobody would find a bad vector again."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from kafka.consumer.fetcher import ConsumerRecord

from pipeline.dead_letters import DeadLetter, DeadLetters
from pipeline.metrics import Metrics
from pipeline.records import EmbeddedPage, Undecodable, decode
from sinks.fence import UnknownPagesTopic
from sinks.rows import Fault, fault
from sinks.table import Table

BYTES_PER_ROW = 4096
"""What a row may take before it counts as several: so that a batch is bounded in bytes as well as in rows."""


class Intake:
    """Decodes messages, sends bad ones to the dead letters, and waits until they are there."""

    def __init__(
        self,
        table: Table,
        dead_letters: DeadLetters,
        metrics: Metrics,
        *,
        adopt: bool,
        pages_topic_id: Callable[[], str],
    ) -> None:
        self._table = table
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._adopt = adopt
        self._pages_topic_id = pages_topic_id
        self._gone: set[str] = set()

    def decode(self, message: ConsumerRecord) -> EmbeddedPage | None:
        """The page in a message, or None for one that is dealt with.

        Raises:
            SchemaTooNew: a newer Cirrostream wrote it.
            UnknownPagesTopic: its `pages` topic is not one that the table has accepted.
        """
        page = None
        try:
            page = decode(message.value or b"", EmbeddedPage)
            wrong = _wrong_key(message, page) or fault(page, self._table.rule)
        except Undecodable as error:
            wrong = Fault("undecodable", str(error))
        if wrong is not None:
            self._dead_letters.send(_letter(message, page, wrong))
            return None
        self._dead_letters.succeeded()
        return page if page is not None and self._is_accepted(page) else None

    def _is_accepted(self, page: EmbeddedPage) -> bool:
        """Whether the page's topic is in the fence's list. `--adopt` leaves out pages of a topic that is no more."""
        try:
            self._table.fence.version(page.source)
        except UnknownPagesTopic:
            topic_id = page.source.topic_id
            if not self._adopt or topic_id == self._pages_topic_id():
                raise
            if topic_id not in self._gone:
                self._gone.add(topic_id)
                structlog.get_logger().warning("pages of a topic that is no more are left out", topic_id=topic_id)
            self._metrics.drop("pages_topic_gone")
            return False
        return True


def weight(page: EmbeddedPage) -> int:
    """What a page counts in a batch: its rows, or more when they are large."""
    text = 0 if page.page is None else len(page.page.text) + len(page.page.metadata)
    return max(1, len(page.spans), (len(page.vectors) + text) // BYTES_PER_ROW)


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
        source=None if page is None else page.source,
    )
