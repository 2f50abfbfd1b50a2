"""Finds the record that ends its process, by elimination: what a commit's mark says, and what follows from it. Pure.

A process cannot tell which of its records killed or hung it: it is gone. So each commit carries a mark in its metadata,
which the partition's next owner reads. It names who has the partition, and that owner takes its name back when it stops
in an orderly way; so a name that is no member of the group any more tells of a death. From then on:

1. After a death the records that may have been in hand are taken *with care*: in small batches, whose end is marked
   before anything is done with them.
2. After a death meanwhile, the records up to that end are taken *alone*, each marked before it is touched.
3. A record that was marked alone at `DEATHS` deaths is the one: it becomes a dead letter, and the others go on.

So a record costs five deaths, wherever its partition is read meanwhile; one that merely was near costs a little time.
Nothing is marked, and no commit made for it, while nobody dies (`docs/decisions/0012-elimination.md`).
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

DEATHS = 3
"""So often a record must have been in hand alone when a process ended."""

LETTERS_A_KILLER = 10
"""A record that ended five processes counts as so many dead letters when they are too many in a row."""

CAREFUL_SHARE = 8
"""With care, a batch holds so much less: it may have to be taken one record at a time, each with commits of its own."""

CAREFUL_RECORDS = 64
"""And so many records are fetched at once."""

LEAST_SHARE = 1 / 6
BYTES_OF_WATCHDOG = 60_000
"""A record alone has a sixth of the watchdog's time, and all of it from 50 KB on: 20 s and 1 s more for 500 bytes."""


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """A note beside a committed offset. All offsets are ends: the first that is not meant."""

    owner: str = ""
    """Kafka's id of the member that has the partition in hand; nobody's after an orderly stop."""
    careful_to: int = 0
    """Up to here records are taken with care."""
    in_hand_to: int = 0
    """Up to here records are in hand, where they are taken with care."""
    alone_to: int = 0
    """Up to here records are taken alone."""
    at: int = -1
    """The record that is in hand alone."""
    deaths: int = 0
    """Processes that ended while it was."""
    killers: int = 0
    """Records in a row, right before this offset, that were found to end their process."""
    newer_since: int = 0
    """When a record of a newer schema was met first, in seconds since 1970 (`pipeline.upgrade_grace`)."""

    @property
    def is_poison(self) -> bool:
        """True when the record at `at` ends each process that has it in hand."""
        return self.deaths >= DEATHS

    @property
    def careful(self) -> bool:
        """True when records are taken with care, or alone."""
        return self.careful_to > 0 or self.alone_to > 0

    def after_death(self, committed: int, may_have_been_in_hand_to: int) -> Mark:
        """The mark of the next owner when the owner has died. `committed` is the offset that it stands beside."""
        if committed < self.alone_to:
            return replace(self, deaths=self.deaths + 1 if self.at >= committed else 0)
        if committed < self.in_hand_to:
            return replace(self, alone_to=self.in_hand_to, in_hand_to=0, at=-1, deaths=0)
        return replace(self, careful_to=max(self.careful_to, may_have_been_in_hand_to), in_hand_to=0)

    def released(self) -> Mark:
        """The mark of the next owner when the owner lives, or has stopped in an orderly way."""
        return replace(self, owner="", in_hand_to=0)

    def taking(self, end: int) -> Mark:
        """Records up to `end` come into hand."""
        if not self.careful or self.alone_to:
            return self
        return replace(self, in_hand_to=max(self.in_hand_to, end))

    def taking_alone(self, at: int) -> Mark:
        """The record `at` comes into hand alone."""
        return replace(self, at=at, deaths=self.deaths if self.at == at else 0, alone_to=max(self.alone_to, at + 1))

    def passed(self, committed: int) -> Mark:
        """All below `committed` is done with."""

        def ahead(end: int) -> int:
            return end if end > committed else 0

        poison = self.is_poison and 0 <= self.at < committed
        return Mark(
            owner=self.owner,
            careful_to=ahead(self.careful_to),
            in_hand_to=ahead(self.in_hand_to),
            alone_to=ahead(self.alone_to),
            killers=self.killers + 1 if poison else 0,
            newer_since=self.newer_since,
        )


def read_mark(metadata: str | None) -> Mark:
    """The mark in a commit's metadata; none in what an earlier version, another program or an operator committed."""
    try:
        return msgspec.json.decode(metadata or "{}", type=Mark)
    except (msgspec.DecodeError, UnicodeError):
        return Mark()


def metadata_of(mark: Mark) -> str:
    """The mark as a commit's metadata: some 200 bytes of the 4,096 that Kafka takes."""
    return "" if mark == Mark() else msgspec.json.encode(mark).decode()


def share_of_watchdog(size: int) -> float:
    """The part of the watchdog's time that a record of `size` bytes may take alone."""
    return min(1.0, LEAST_SHARE + size / BYTES_OF_WATCHDOG)
