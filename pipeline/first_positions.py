"""The rule for the first positions of a group without a table: its commit, else the log's start, and never over a gap.

Consumers run with `auto_offset_reset=none`, so that a gap is an error. `earliest` would jump over it in silence: a
group committed at 100 in a log that begins at 600 goes on at 600. The sink's rule, which begins with its table, is
`sinks.start`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pipeline.errors import Fatal


class Positions(Protocol):
    """The rule for where to start reading partitions that have just been assigned."""

    def __call__(self, committed: Mapping[int, int | None], log_starts: Mapping[int, int]) -> Mapping[int, int]:
        """Next offset for each partition. Raises Fatal when it would leave a gap."""


def from_committed(group: str, remedy: str) -> Positions:
    """The committed offset, or the log's start for a group that has none; a gap between them is fatal."""

    def positions(committed: Mapping[int, int | None], log_starts: Mapping[int, int]) -> Mapping[int, int]:
        for partition, offset in committed.items():
            start = log_starts.get(partition, 0)
            if offset is not None and offset < start:
                raise Fatal(
                    f"group {group}, partition {partition}: records {offset} to {start - 1} are gone and were not "
                    f"processed; {remedy}"
                )
        return {p: log_starts.get(p, 0) if offset is None else offset for p, offset in committed.items()}

    return positions
