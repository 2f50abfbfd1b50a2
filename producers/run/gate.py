"""The pages of a file that are sent: not those that the user does not want."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import ClassVar

from pipeline.records import Page
from producers.reader import Entry
from producers.run.job import ShardJob
from producers.run.progress import Shape
from producers.run.settings import FileSettings

TOO_LARGE = "too_large"

_HASHES = 1 << 64


class Gate:
    """Decides on each entry of one file. A source with more to decide has a gate of its own."""

    whole: ClassVar[bool] = False
    """True: it must see all entries of a file, those of earlier runs too, of which none is sent again."""

    def __init__(self, settings: FileSettings, job: ShardJob) -> None:
        self._sample = settings.sample
        self._min_length = settings.min_length

    def refuses(self, page: Page) -> str:
        """The reason that the page is not sent for; empty when it is."""
        if len(page.text) < self._min_length:
            return "short"
        if self._sample < 1.0 and share_of(page.key) >= self._sample:
            return "not_sampled"
        return ""

    def was_sent(self, page: Page) -> bool:
        """True for a page that an earlier run has sent after it last wrote down its progress, as far as is known."""
        return False

    def unreadable(self, entry: Entry) -> None:
        """Notes an entry that could not be read."""

    def too_large(self, page: Page) -> None:
        """Notes that Kafka did not take the page."""

    @property
    def shape(self) -> Shape | None:
        """Figures of the whole file, for its last progress record."""
        return None

    def records(self, job: ShardJob) -> Iterable[tuple[bytes, bytes]]:
        """Keys and values for `progress`, to be written before the record that says that the file is finished."""
        return ()


def share_of(key: str) -> float:
    """A number from 0 to 1 that depends on the key alone: a smaller sample is part of a larger one."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) / _HASHES
