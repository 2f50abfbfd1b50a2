"""The progress of each shard: one compacted record a shard, written only for what Kafka has acknowledged."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import NamedTuple

import msgspec
from kafka.consumer.fetcher import ConsumerRecord
from kafka.structs import TopicPartition

from pipeline.kafka import Cluster, read_to_end
from pipeline.kafka_errors import translated
from pipeline.progress_records import decode_record
from producers.account import Ledger
from producers.bytes.lines import Position
from producers.run.shards import Shard

SCHEMA_VERSION = 1


UNUSABLE = "unusable"


class PagesTopic(NamedTuple):
    """The topic `pages` as it is when a run begins."""

    id: str
    ends: dict[int, int]


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a whole shard of a snapshot, to be compared with those of the snapshot before."""

    pages: int
    """Those that were chosen, sent or not."""
    unnamed: int
    """Entries that could not be read and do not say which page they are: any page that is not there may be one."""
    fields: dict[str, int]
    """Field that a document may lack -> pages that have it."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One shard as it stands in `progress`: every page before `line` is in `pages`, or is counted in the ledger."""

    schema: int = SCHEMA_VERSION
    run: str
    """Id of the run that wrote it."""
    shard: str
    wiki: str
    snapshot: str
    size: int
    checksum: str
    pages_topic: str
    """Id of the topic `pages`: what was sent to one that is no more was not sent."""
    floor: dict[int, int] = {}
    """Ends of the partitions of `pages` when this shard was begun: what it sent stands behind them."""
    ends: dict[int, int] = {}
    """Partition -> offset behind the last record that was sent before `line`: what was sent after it stands there."""
    options: str
    """Settings that decide which entries become pages (`FileSettings.options`); with others it is another shard."""
    line: int = 0
    """Number of the next line to read, from 0: never one between an action and its document."""
    offset: int = 0
    """Decompressed bytes before it."""
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    """The account up to `line`, over all runs that came here."""
    finished: bool = False
    damage: str = ""
    """`cut off` or `corrupt` when the shard could not be read further than this; `unusable` when none of its entries
    could be used."""
    shape: Shape | None = None
    """Of a finished shard of a snapshot; None in records of earlier versions, whose manifests lack what they could not
    read."""

    @property
    def position(self) -> Position:
        return Position(self.line, self.offset)

    def fits(self, shard: Shard, options: str, pages_topic: str) -> str:
        """Empty when this is progress in that very file with the same options, else what is different."""
        if self.pages_topic != pages_topic:
            return "the topic pages is another one than before"
        if (self.size, self.checksum) != (shard.size, shard.checksum):
            return "the file is another one than before"
        if self.options != options:
            return "the reader's options have changed"
        if self.damage == "corrupt":
            # Its bytes may have been wrong before the place where that showed.
            return "the file was found corrupt before"
        if self.damage == UNUSABLE:
            # What kept its entries from being read may have been mended, such as too little memory.
            return "nothing of the file could be used before"
        return ""


def begin(shard: Shard, run: str, options: str, pages: PagesTopic) -> Progress:
    """Progress in a shard of which nothing has been read."""
    return Progress(
        run=run,
        shard=shard.name,
        wiki=shard.origin.wiki,
        snapshot=shard.origin.snapshot,
        size=shard.size,
        checksum=shard.checksum,
        pages_topic=pages.id,
        floor=dict(pages.ends),
        ends=dict(pages.ends),
        options=options,
    )


def encode(progress: Progress) -> bytes:
    return msgspec.msgpack.encode(progress)


def decode(data: bytes) -> Progress | None:
    """The record, or None when it is none: then the shard is read again, which costs work and nothing else.

    Raises:
        Fatal: a newer Cirrostream wrote it.
    """
    return decode_record(data, Progress, SCHEMA_VERSION, "a shard's progress")


def read_progress(cluster: Cluster, topic: str, kind: str = "cirrus") -> dict[str, Progress | None]:
    """The newest progress of every shard of this kind, by its key; None where the record cannot be read."""
    newest: dict[str, bytes | None] = {}
    for record in read_to_end(cluster, topic, deadline_s=600):
        if record.key is not None and record.key.startswith(f"{kind}/".encode()):
            newest[record.key.decode("utf-8", "replace")] = record.value
    return {key: decode(value) for key, value in newest.items() if value is not None}


def recorded(shard: Shard, progress: Mapping[str, Progress | None]) -> Progress | None:
    """Progress in this very file, also when it was read with others beside it; else what is under its key."""
    records = filter(None, map(progress.get, (shard.key, *shard.other_keys)))
    own = (record for record in records if (record.size, record.checksum) == (shard.size, shard.checksum))
    return next(own, progress.get(shard.key))


LOOK_SECONDS = 0.5


class Rival(NamedTuple):
    """A run that advanced a shard of ours."""

    key: str
    run: str


class Rivals:
    """Follows `progress` from where it ended when the run began."""

    def __init__(self, cluster: Cluster, topic: str, run: str) -> None:
        self._run = run
        self._looked_at = 0.0
        self._consumer = cluster.consumer()
        ends = {TopicPartition(topic, partition): end for partition, end in cluster.log(topic).ends.items()}
        self._topic = topic
        with translated(topic):
            self._consumer.assign(list(ends))
            for partition, end in ends.items():
                self._consumer.seek(partition, end)

    def __enter__(self) -> Rivals:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def turn(self, keys: Collection[str]) -> Rival | None:
        """Another run's record of one of these shards, if there is a new one; asks Kafka twice a second."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return None
        self._looked_at = time.monotonic()
        with translated(self._topic):
            polled: dict[TopicPartition, list[ConsumerRecord]] = self._consumer.poll(timeout_ms=20)
        for records in polled.values():
            for record in records:
                key = (record.key or b"").decode("utf-8", "replace")
                progress = decode(record.value) if key in keys and record.value is not None else None
                if progress is not None and progress.run != self._run:
                    return Rival(key, progress.run)
        return None
