"""The newest version of every page in `pages`, in a form that 7 million of them fit in memory.

A page costs 19 bytes, and while a batch is sorted in about 80 (measured over a million), whatever its text is: a dict
of Python objects would cost about 400.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from kafka.consumer.fetcher import ConsumerRecord
from numpy.typing import NDArray

_BATCH = 100_000


def key_hash(key: str) -> int:
    """64 bits that stand for a key within this process (Python's SipHash, with this process' own secret).

    Two of 7 million keys share one with a probability of one in a million. Even then nothing wrong passes for right:
    the two pages would be reported as differing from the table.
    """
    return hash(key)


@dataclass(frozen=True)
class NewestPages:
    """Newest versions, sorted by hash of the key: four arrays of the same length."""

    keys: NDArray[np.int64]
    offsets: NDArray[np.int64]
    partitions: NDArray[np.uint16]
    deleted: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def live(self) -> int:
        """Pages that are not deleted."""
        return len(self.keys) - int(self.deleted.sum())

    def places(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Position of each of these hashes in the arrays; -1 where there is none."""
        if not len(self.keys):
            return np.full(len(keys), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, at, -1)

    def place(self, key: str) -> int:
        """Position of this key; -1 when there is none."""
        return int(self.places(np.asarray([key_hash(key)], dtype=np.int64))[0])


class _Batch:
    """Versions as they come: typed arrays, for a list of tuples would take ten times as much."""

    def __init__(self) -> None:
        self.keys, self.offsets = array("q"), array("q")
        self.partitions, self.deleted = array("H"), array("B")

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, record: ConsumerRecord) -> None:
        self.keys.append(key_hash(text_of(record.key)))
        self.offsets.append(record.offset)
        self.partitions.append(record.partition)
        self.deleted.append(record.value is None)


def newest_pages(records: Iterable[ConsumerRecord]) -> NewestPages:
    """Reads `pages` from its start to its end. Compaction lags behind, so a key may come several times."""
    found = NewestPages(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.bool_))
    batch = _Batch()
    for record in records:
        batch.add(record)
        # Batches grow with what is there, so that all the sorting together stays n log n.
        if len(batch) >= max(_BATCH, len(found) // 8):
            found, batch = _merged(found, batch), _Batch()
    return _merged(found, batch)


def text_of(key: bytes | None) -> str:
    """A record's key as text; undecodable bytes do not collide with anything real."""
    return (key or b"").decode("utf-8", "backslashreplace")


def _merged(old: NewestPages, batch: _Batch) -> NewestPages:
    if not len(batch):
        return old
    keys = np.concatenate([old.keys, np.frombuffer(batch.keys, np.int64)])
    offsets = np.concatenate([old.offsets, np.frombuffer(batch.offsets, np.int64)])
    partitions = np.concatenate([old.partitions, np.frombuffer(batch.partitions, np.uint16)])
    deleted = np.concatenate([old.deleted, np.frombuffer(batch.deleted, np.bool_)])
    order = np.lexsort((offsets, keys))
    ordered = keys[order]
    newest = order[np.append(ordered[1:] != ordered[:-1], True)]
    return NewestPages(keys[newest], offsets[newest], partitions[newest], deleted[newest])
