"""Removes a table's old versions, but for those that a reader has a lease on and that fit into a bound of bytes."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from datetime import timedelta

from lancedb.table import LanceTable

from sinks.lease_folder import LeaseFolder, NoLeases
from sinks.leases import MAX_SECONDS, Held, Leases, leases_of, version_times

FOR_EVER = timedelta(days=36_500)

MARGIN_S = 600.0
"""Between the look at the leases and the moment from which Lance counts back lies the rest of an optimize."""

MIN_BYTES = 1 << 30
"""Leases may hold as much of any table, however small."""

VOID_AGE_S = 3_600.0
"""A file that holds nothing is removed when it is so old: not under the hands of a reader that is about to renew."""


@dataclass(slots=True)
class CleanUp:
    """The leases' part in one clean-up."""

    leases: int = 0
    """Leases that hold a version."""
    bytes: int = 0
    """Files that only versions held by leases need."""
    ended: list[Held] = field(default_factory=list)
    """Leases that were ended, for what they hold is more than the bound."""
    void: list[tuple[str, str]] = field(default_factory=list)
    """Files that hold nothing, and why: those that a clean-up has removed."""
    unreadable: str = ""
    """Why the leases could not be read; at a place that can have some, versions are kept as long as one can hold."""


def clean_up(lance: LanceTable, age: timedelta, share: float) -> CleanUp:
    """Compacts the table, then removes all versions older than `age` that nobody has a lease on.

    Leases hold at most `share` of the bytes of the newest version (or `MIN_BYTES`, where that is more); the ones on
    the oldest versions are ended first. With a share of 0 nothing is kept for anybody.
    """
    lance.optimize(cleanup_older_than=FOR_EVER)  # may take minutes: the leases are read after it, not before
    try:
        folder = LeaseFolder(str(lance.uri))
    except NoLeases as error:  # nobody can have one at such a place
        lance.optimize(cleanup_older_than=age)
        return CleanUp(unreadable=str(error))
    try:
        now = time.time()
        leases = leases_of(folder.files(), version_times(lance), now)
        done = _remove_versions(lance, folder, leases.held, age, _bound(lance, share))
        done.void = _remove_void(folder, leases, now)
    except NoLeases as error:
        lance.optimize(cleanup_older_than=max(age, timedelta(seconds=MAX_SECONDS)))
        return CleanUp(unreadable=str(error))
    return done


def look(lance: LanceTable, age: timedelta) -> CleanUp:
    """Versions older than `age` that leases keep now, with nothing removed. Raises NoLeases."""
    folder, now = LeaseFolder(str(lance.uri)), time.time()
    leases = leases_of(folder.files(), version_times(lance), now)
    held = held_bytes(lance, folder, now - age.total_seconds()) if leases.held else 0
    return CleanUp(len(leases.held), held, void=[(file.name, why) for file, why in leases.void])


def _remove_versions(lance: LanceTable, folder: LeaseFolder, held: list[Held], age: timedelta, bound: int) -> CleanUp:
    ended: list[Held] = []
    while True:
        now = time.time()
        lance.optimize(cleanup_older_than=max(age, _reach(held, now)))
        held_now = held_bytes(lance, folder, now - age.total_seconds()) if held else 0
        if held_now <= bound:
            return CleanUp(len(held), held_now, ended)
        with contextlib.suppress(NoLeases):  # another user's file: what it holds goes all the same
            folder.remove(held[0].file)
        ended.append(held[0])
        held = held[1:]


def _remove_void(folder: LeaseFolder, leases: Leases, now: float) -> list[tuple[str, str]]:
    removed = []
    for file, why in leases.void:
        if file.modified < now - VOID_AGE_S:
            with contextlib.suppress(NoLeases):
                folder.remove(file.name)
                removed.append((file.name, why))
    return removed


def _reach(held: list[Held], now: float) -> timedelta:
    """The time back to which versions are needed."""
    return timedelta(seconds=max(0, now - held[0].lease.time) + MARGIN_S) if held else timedelta(0)


def _bound(lance: LanceTable, share: float) -> int:
    size = int(lance.list_versions()[-1]["metadata"]["total_files_size"])
    return max(MIN_BYTES, int(share * size)) if share else 0


def held_bytes(lance: LanceTable, folder: LeaseFolder, before: float) -> int:
    """Bytes that versions older than the last one before this Unix time need, beyond what that one needs itself.

    Files are told by when they were written, for LanceDB does not say which version needs which: those of a merge that
    failed are counted too, until Lance removes them after a week.
    """
    there = sum(size for modified, size in folder.table_files() if modified <= before)
    versions = [version for version in lance.list_versions() if version["timestamp"].timestamp() <= before]
    if not versions:
        return 0
    needed = int(versions[-1]["metadata"]["total_files_size"])
    needed += sum(index.size_bytes or 0 for index in lance.list_indices())
    return max(0, there - needed)
