"""All of a wiki in `pages` before a snapshot is read: the union of manifests, the newer over the older, on disk.

Processes that read shards map the files instead of each holding 168 MB for 7 million pages. They are merged a range of
ids at a time, so that neither does the one that makes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.manifests import Entries, Hashes, sorted_entries

RANGE_PAGES = 500_000
COLUMNS = ("ids", "content", "details")


@dataclass(frozen=True, slots=True)
class Baseline:
    """Three mapped arrays, sorted by id."""

    entries: Entries

    @classmethod
    def open(cls, folder: Path) -> Baseline:
        return cls(Entries(*(_mapped(folder / name) for name in COLUMNS)))

    def __len__(self) -> int:
        return len(self.entries.ids)

    def find(self, page_id: int) -> tuple[int, int] | None:
        """Content and details of this page; None when there is none."""
        ids = self.entries.ids
        at = int(np.searchsorted(ids, np.uint64(page_id)))
        if at == len(ids) or int(ids[at]) != page_id:
            return None
        return int(self.entries.content[at]), int(self.entries.details[at])

    def without(self, other: Baseline) -> Iterator[Hashes]:
        """The ids that `other` lacks, in order, some at a time."""
        for start in range(0, len(self), RANGE_PAGES):
            ids = np.asarray(self.entries.ids[start : start + RANGE_PAGES])
            theirs = other.entries.ids
            low, high = np.searchsorted(theirs, ids[0]), np.searchsorted(theirs, ids[-1], side="right")
            yield ids[~np.isin(ids, np.asarray(theirs[low:high]), assume_unique=True)]


class BaselineWriter:
    """Takes sorted entries, and merges them into the files of a baseline."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._named: dict[str, tuple[tuple[int, int], Path]] = {}

    def put(self, name: str, rank: tuple[int, int], entries: Entries) -> None:
        """Takes entries in, in place of those of this name; of two with one id, those of the higher rank count."""
        path = self._folder / f"part-{len(self._named)}.npy"
        if name in self._named:
            path = self._named[name][1]
        np.save(path, np.stack(entries))
        self._named[name] = rank, path

    def drop(self, name: str) -> None:
        """Forgets the entries of this name."""
        if name in self._named:
            self.put(name, (0, 0), sorted_entries(*(np.empty(0, np.uint64) for _ in COLUMNS)))

    @property
    def _parts(self) -> list[Path]:
        """The lower ranks first."""
        return [path for _, path in sorted(self._named.values())]

    def finish(self) -> Baseline:
        """Writes the files, and removes the parts."""
        files = [(self._folder / name).open("wb") for name in COLUMNS]
        try:
            for low, high in self._ranges():
                merged = sorted_entries(*np.concatenate([self._slice(path, low, high) for path in self._parts], axis=1))
                for file, column in zip(files, merged, strict=True):
                    file.write(np.ascontiguousarray(column, "<u8").tobytes())
        finally:
            for file in files:
                file.close()
        for path in self._parts:
            path.unlink()
        return Baseline.open(self._folder)

    def _ranges(self) -> Iterator[tuple[int, int]]:
        """First and last id of ranges that hold about as many entries each."""
        if not self._parts:
            return
        sample = np.sort(np.concatenate([np.load(path, mmap_mode="r")[0][::64] for path in self._parts]))
        if not len(sample):
            return
        edges = np.unique(sample[:: max(1, RANGE_PAGES // 64)]).tolist()
        starts = [0, *(int(edge) for edge in edges[1:])]
        yield from zip(starts, [*(start - 1 for start in starts[1:]), (1 << 64) - 1], strict=True)

    def _slice(self, path: Path, low: int, high: int) -> np.ndarray:
        part = np.load(path, mmap_mode="r")
        first = np.searchsorted(part[0], np.uint64(low))
        last = np.searchsorted(part[0], np.uint64(high), side="right")
        found: np.ndarray = np.array(part[:, first:last])
        return found


def _mapped(path: Path) -> Hashes:
    if not path.stat().st_size:
        return np.empty(0, np.uint64)
    return np.memmap(path, "<u8", mode="r")
