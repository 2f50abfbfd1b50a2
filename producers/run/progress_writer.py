"""Writes one shard's progress records: each only when all pages before it are acknowledged, one in flight at a time."""

from __future__ import annotations

import time
from typing import NamedTuple

import msgspec

from pipeline.publisher import Delivery, Message, Publisher
from producers.account import Ledger
from producers.bytes.lines import Position
from producers.run.delivery import Reached
from producers.run.progress import Progress, Shape, encode


class Passed(NamedTuple):
    """A place between two entries, and the account of all before it."""

    position: Position
    ledger: Ledger


class ProgressWriter:
    """The `progress` record of one shard, brought up to date every so many pages or seconds."""

    def __init__(
        self, publisher: Publisher, topic: str, key: str, start: Progress, *, pages: int, seconds: float
    ) -> None:
        self._publisher = publisher
        self._topic = topic
        self._key = key.encode()
        self._written = start
        self._pages = pages
        self._seconds = seconds
        self._tried_at = time.monotonic()
        self._tried_at_page = start.ledger.produced
        self._delivery: Delivery | None = None

    def begin(self, timeout_s: float) -> None:
        """Writes down, before anything is sent, behind which records of `pages` that will stand.

        Raises:
            TryAgain: that took longer than `timeout_s`.
        """
        self._publisher.publish([Message(self._topic, self._key, encode(self._written))]).wait(timeout_s)

    def due(self, produced: int) -> bool:
        """True when it is time for a record, with `produced` pages handed over so far."""
        if self._delivery is not None and not self._delivery.done:
            return False
        return produced - self._tried_at_page >= self._pages or time.monotonic() - self._tried_at >= self._seconds

    def write(self, reached: Reached[Passed], produced: int) -> None:
        """Sends a record, unless nothing was acknowledged since the last."""
        self._tried_at, self._tried_at_page = time.monotonic(), produced
        if reached.place.position.line > self._written.line:
            self._send(reached, finished=False, damage="")

    def finish(
        self, reached: Reached[Passed], *, finished: bool, damage: str, timeout_s: float, shape: Shape | None = None
    ) -> None:
        """Sends the last record and waits until it is acknowledged.

        Raises:
            TryAgain: that took longer than `timeout_s`.
        """
        self._send(reached, finished=finished, damage=damage, shape=shape)
        if self._delivery is not None:
            self._delivery.wait(timeout_s)

    def _send(self, reached: Reached[Passed], *, finished: bool, damage: str, shape: Shape | None = None) -> None:
        line, offset = reached.place.position
        self._written = msgspec.structs.replace(
            self._written,
            line=line,
            offset=offset,
            ledger=reached.place.ledger,
            ends=reached.ends,
            finished=finished,
            damage=damage,
            shape=shape,
        )
        self._delivery = self._publisher.publish([Message(self._topic, self._key, encode(self._written))])
