"""Leases: how a reader that must see one version to its end keeps the writer from removing that version's files.

A lease names a version, with the time it was committed, and expires by itself. The writer reads all leases before it
removes old versions. A lease is not believed where the table can tell: a version that the table does not
have holds nothing, and none holds longer than 24 hours after it was last renewed.

Never a Lance tag: one on an old version makes all clean-up fail.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
from lancedb.table import LanceTable

from sinks.lease_folder import MAX_BYTES, LeaseFile

MAX_SECONDS = 24 * 3600.0
"""The longest that a lease may hold, from its last renewal for the writer, from its beginning for its reader."""

SKEW_S = 300.0
"""How far the clocks of reader, writer and storage may be apart."""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of a lease file, as JSON."""

    version: int
    """Of the table, as Lance counts them."""
    time: float
    """When that version was committed, in Unix time: a table that was made anew counts from 1 again."""
    expires: float
    """Unix time, by the reader's clock."""
    holder: str = ""
    """Who reads, for people."""


@dataclass(frozen=True, slots=True)
class Held:
    """A lease that holds its version."""

    file: str
    lease: Lease


@dataclass(frozen=True, slots=True)
class Leases:
    """The leases that hold, the oldest version first, and why each other file holds nothing."""

    held: list[Held] = field(default_factory=list)
    void: list[tuple[LeaseFile, str]] = field(default_factory=list)

    @property
    def oldest(self) -> float | None:
        """The Unix time at which the oldest version that is held was committed."""
        return self.held[0].lease.time if self.held else None


def encode_lease(lease: Lease) -> bytes:
    """The lease as a file's bytes."""
    return msgspec.json.encode(lease)


def leases_of(files: Iterable[LeaseFile], versions: Mapping[int, float], now: float) -> Leases:
    """The files that hold a version, of a table with these versions and the times they were committed at. Pure."""
    held: list[Held] = []
    void: list[tuple[LeaseFile, str]] = []
    for file in files:
        found = _lease(file, versions, now)
        if isinstance(found, Lease):
            held.append(Held(file.name, found))
        else:
            void.append((file, found))
    return Leases(sorted(held, key=lambda one: one.lease.time), void)


def version_times(lance: LanceTable) -> dict[int, float]:
    """The Unix time at which each version that the table still has was committed."""
    return {int(version["version"]): version["timestamp"].timestamp() for version in lance.list_versions()}


def _lease(file: LeaseFile, versions: Mapping[int, float], now: float) -> Lease | str:
    """The lease in a file, or the reason why it holds nothing."""
    if file.data is None:
        return f"odd: not readable, or larger than {MAX_BYTES} bytes"
    try:
        lease = msgspec.json.decode(file.data, type=Lease)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"odd: not a lease ({error})"
    return _void(lease, file.modified, versions, now) or lease


def _void(lease: Lease, modified: float, versions: Mapping[int, float], now: float) -> str | None:
    if not (math.isfinite(lease.time) and math.isfinite(lease.expires)) or lease.expires > now + MAX_SECONDS + SKEW_S:
        return "odd: it would hold for more than 24 hours"
    if modified > now + SKEW_S:
        return "odd: it was written in the future"
    if lease.expires <= now or modified + MAX_SECONDS <= now:
        return "expired"
    if abs(versions.get(lease.version, math.inf) - lease.time) > 1:
        return "odd: the table has no such version"
    return None
