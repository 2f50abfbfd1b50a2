"""Another try for dead letters: their pages are sent to `pages` once more, and go the whole way again.

That is right for every stage that failed, needs neither its model nor its settings here, and keeps the one order that
there is, that of `pages`. A page of which something newer has come since is left alone: its letter is history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from kafka.consumer.fetcher import ConsumerRecord

from pipeline import dead_letters
from pipeline.dead_letters import DeadLetter
from pipeline.kafka import Cluster, read_range
from pipeline.publisher import Message, Publisher
from pipeline.records import Source, valid_key
from pipeline.resend import Newest, NewestRecords, Resender
from pipeline.topics import CorpusTopics, topic_ids

Fate = Literal["from_pages", "from_letter", "unproven", "superseded", "gone", "too_large", "not_kept", "odd"]
"""The fate of a letter: its page is sent as `pages` has it; as the letter has it, for it never came to `pages`; not
so, for whoever may write letters could have made it up, and nobody has said to believe it; a newer version is in
`pages`, or in a letter of its own; the page is in `pages` no more, or the key is none of a page; it is still larger
than `pages` takes; its bytes were too many to be kept in the letter; its headers are none of a letter."""

READERS = ("chunk", "embed", "lance")
"""The stages behind `pages`; any other lost the page before it came there."""

Wanted = Callable[[ConsumerRecord, str, str], bool]
"""True when a record of `dead_letters` is meant, by its stage and its reason."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter's claims about its page, without the page."""

    partition: int
    offset: int
    timestamp: int
    version: Source | None
    """Of the page; None: it never came to `pages`, or the record could not tell."""
    foreign: bool
    """True when the version is of a `pages` that was deleted since."""
    came_to_pages: bool
    kept: bool
    last: bool
    """True when there is no later letter about the page."""
    odd: bool
    is_page: bool
    """True when its key can be one of a page."""

    def fate(self, newest: Newest | None) -> Fate:
        if self.odd:
            return "odd"
        if not self.is_page:
            return "gone"
        if newest is not None and self._precedes(newest):
            return "gone" if newest.deleted else "superseded"
        if self.came_to_pages:
            return "gone" if newest is None or newest.deleted else "from_pages"
        if not self.last:
            return "superseded"
        return "from_letter" if self.kept else "not_kept"

    def _precedes(self, newest: Newest) -> bool:
        if self.foreign:
            return True
        if not self.came_to_pages:
            return newest.timestamp > self.timestamp
        return self.version is not None and newest.offset > self.version.offset


@dataclass(slots=True)
class Retried:
    """The fates of the letters, of which each page counts once: its newest."""

    fates: Counter[Fate] = field(default_factory=Counter)
    overtaken: int = 0

    @property
    def sent(self) -> int:
        return self.fates["from_pages"] + self.fates["from_letter"]


def retry(cluster: Cluster, topics: CorpusTopics, wanted: Wanted, *, from_letters: bool = False) -> Retried:
    """Sends the pages of the wanted letters again; returns when all replicas have them.

    Args:
        from_letters: believes the letters' own bytes, where the page never came to `pages`. Every stage may write
            letters, and most of them may not write `pages`: with one of those passwords, letters would do it for them.
    """
    ranges = cluster.log(topics.dead_letters).ranges
    pages_id = topic_ids(cluster, [topics.pages])[topics.pages]
    letters: dict[bytes, Letter] = {}
    for record in read_range(cluster, topics.dead_letters, ranges):
        key = record.key or b""
        stage, letter = dead_letters.read(record)
        if wanted(record, stage, letter.reason):
            letters[key] = _letter(record, stage, letter, topics.pages, pages_id)
        elif key in letters:
            letters[key] = replace(letters[key], last=False)
    found = NewestRecords.read(cluster, topics.pages, letters.keys())
    fates: dict[bytes, Fate] = {key: letter.fate(found.newest.get(key)) for key, letter in letters.items()}
    if not from_letters:
        fates |= dict.fromkeys((key for key, fate in fates.items() if fate == "from_letter"), "unproven")
    with Publisher(cluster) as publisher, Resender(found, publisher) as sender:
        sender.send(found.messages({key for key, fate in fates.items() if fate == "from_pages"}))
        whole = {key: letters[key] for key, fate in fates.items() if fate == "from_letter"}
        for message in _originals(cluster, topics, ranges, whole):
            if publisher.takes(message):
                sender.send([message])
            else:
                fates[message.key] = "too_large"
    return Retried(Counter(fates.values()), sender.overtaken)


def _letter(record: ConsumerRecord, stage: str, letter: DeadLetter, pages: str, pages_id: str) -> Letter:
    version = letter.version(pages, pages_id)
    return Letter(
        record.partition,
        record.offset,
        record.timestamp,
        version,
        foreign=version is not None and version.topic_id != pages_id,
        came_to_pages=stage in READERS,
        kept=dead_letters.is_whole(record),
        last=True,
        odd=bool(letter.odd),
        is_page=valid_key(letter.key.decode("utf-8", "replace")),
    )


def _originals(
    cluster: Cluster, topics: CorpusTopics, ranges: Mapping[int, tuple[int, int]], letters: Mapping[bytes, Letter]
) -> Iterator[Message]:
    """The letters' own bytes, read once more: they may be more than fits into memory."""
    if letters:
        for record in read_range(cluster, topics.dead_letters, ranges):
            letter = letters.get(record.key)
            if letter is not None and (letter.partition, letter.offset) == (record.partition, record.offset):
                yield Message(topics.pages, record.key, record.value)
