"""Reads the beginning of a file as its source's reader does, within bounds of bytes and time."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

from deploy.local.run_settings import RunSettings
from producers.bytes.blocks import Damaged, PackedFile
from producers.bytes.lines import BEGINNING, Position
from producers.reader import Entry
from producers.run.shards import Shard

ENOUGH_BYTES = 512 * 1024
"""Of the file as it lies on disk: of a dump some hundred pages, about 0.2 s."""
ENOUGH_S, ENOUGH_ENTRIES = 0.2, 50
"""For readers that are slower than that: so many entries all the same, for a parser has to start first."""
LONGEST_S = 5.0


class _LongEnough(Exception):
    """Nothing more was read for too long."""


def read_beginning(shard: Shard, settings: RunSettings, take: Callable[[Entry], None]) -> float:
    """Gives the first entries to `take`; how many bytes of the file they are, its whole size when these are all.

    A damage ends it and is not said: the producer says it, with its place.
    """
    began = time.monotonic()

    def tick() -> None:
        if time.monotonic() - began > LONGEST_S:
            raise _LongEnough

    reader = settings.reads.reader(shard, settings)
    entries = reader.read(BEGINNING, tick)
    packing = _packing(shard.path)
    first, count, taken = time.monotonic(), 0, 0.0
    try:
        for entry in entries:
            first = first if count else time.monotonic()
            take(entry)
            count += 1
            taken = _on_disk(entry.after, packing, reader.bytes_read)
            if taken >= ENOUGH_BYTES or (count >= ENOUGH_ENTRIES and time.monotonic() - first > ENOUGH_S):
                return taken
        return shard.size
    except _LongEnough:
        return taken
    except (Damaged, OSError):
        return reader.bytes_read
    finally:
        if isinstance(entries, Generator):
            entries.close()  # it may have processes


def _on_disk(after: Position, packing: float, bytes_read: int) -> float:
    """The bytes of the file before this place: a reader is ahead of it with blocks. Places in files that are no text,
    such as Parquet's, have no offset."""
    return after.offset / packing if after.offset else bytes_read


def _packing(path: Path) -> float:
    """Decompressed bytes for each of the file's own, in its beginning; 1 where it is not packed."""
    packed, length = PackedFile(path), 0
    with suppress(Damaged, OSError):
        for block in packed.blocks():
            length += len(block)
            if length and packed.bytes_read >= ENOUGH_BYTES:
                break
    return max(1.0, length / max(1, packed.bytes_read))
