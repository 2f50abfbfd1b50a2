"""Hands pages to Kafka; one that is too large for it becomes a dead letter."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from pipeline.dead_letters import DeadLetter, DeadLetters
from pipeline.publisher import Delivery, Message, Publisher, RecordTooLarge
from pipeline.records import Page, encode
from pipeline.version import version


class Handed(NamedTuple):
    """A page on its way."""

    delivery: Delivery
    size: int
    """Bytes in flight."""


class PageSender:
    """Sends pages and deletions to the topic `pages`."""

    def __init__(self, publisher: Publisher, topic: str, dead_letters: DeadLetters) -> None:
        self._publisher = publisher
        self._topic = topic
        self._dead_letters = dead_letters

    def fits(self, page: Page) -> bool:
        """True when Kafka takes a record of this page's size."""
        return self._publisher.takes(self._message(page))

    def send(self, page: Page, source: str, number: int) -> Handed | None:
        """Hands the page over; None when it is too large and went, acknowledged, to the dead letters.

        `source` and `number` say where it comes from, such as a file's name and a line.
        """
        message = self._message(page)
        try:
            delivery = self._publisher.publish([message])
        except RecordTooLarge as error:
            self._dead_letters.send(_letter(message, source, number, error))
            return None
        self._dead_letters.succeeded()
        return Handed(delivery, message.size)

    def delete(self, key: str) -> Handed:
        """Hands a tombstone over: the page goes from the table."""
        message = Message(self._topic, key.encode(), None)
        return Handed(self._publisher.publish([message]), message.size)

    def _message(self, page: Page) -> Message:
        return Message(self._topic, page.key.encode(), encode(msgspec.structs.replace(page, cirrostream=version())))


def _letter(message: Message, source: str, number: int, error: RecordTooLarge) -> DeadLetter:
    return DeadLetter(
        topic=source,
        partition=0,
        offset=number,
        key=message.key,
        value=message.value,
        reason="too_large",
        error=f"{source}, {number + 1}: {error}",
    )
