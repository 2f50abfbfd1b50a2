"""The start rule: the positions at which a sink begins to read, by its table and by Kafka.

The fence decides, for it moves together with the rows; the committed offset is its public copy, and smaller only when
an operator has set it back. Wherever records are missing between that offset and the log, this refuses and says what to
type: a gap that nobody noticed could not be told from deleted pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from pipeline.errors import Fatal
from pipeline.kafka import Cluster
from sinks.fence import Fence

REFILL = (
    "start sinks.lance once with --rebuild, then run: python -m pipeline.replay --stage chunk "
    "(deploy.local run --rebuild does both)"
)


@dataclass(frozen=True, slots=True)
class PartitionOffsets:
    """One partition of `vectors` in Kafka: its group's commit, its first offset, its next offset.

    `end` is None where only a gap at the beginning matters.
    """

    committed: int | None
    start: int
    end: int | None = None


def read_offsets(cluster: Cluster, group: str, topic: str) -> dict[int, PartitionOffsets]:
    """Each partition's offsets in Kafka and the group's commit.

    Read the fence first: its writer may be at work, and no partition may seem to end before it.
    """
    committed = cluster.committed(group, topic)
    ranges = cluster.log(topic).ranges
    return {p: PartitionOffsets(committed.get(p), start, end) for p, (start, end) in ranges.items()}


@dataclass(frozen=True, slots=True)
class Start:
    """Next offset of each partition, and what the operator should know about it.

    `rebuilt` has the partitions that `--rebuild` moved, whose fence must say so before anything is read.
    """

    positions: dict[int, int] = field(default_factory=dict)
    rebuilt: dict[int, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def start_positions(
    fence: Mapping[int, int] | None, logs: Mapping[int, PartitionOffsets], *, rebuild: bool = False
) -> Start:
    """The offsets at which to read on. `fence` has the table's offsets, or is None when there is no table.

    With `rebuild`, partitions with a gap start at the log's start.

    Raises:
        Fatal: records that the table does not have are no longer in Kafka.
    """
    start = Start()
    for partition, log in sorted(logs.items()):
        stored = None if fence is None else fence.get(partition, 0)
        wanted = _wanted(stored, log)
        gap = _gap(partition, stored, wanted, log)
        if gap is None:
            start.positions[partition] = wanted
        elif stored is not None and wanted < log.start <= stored:
            start.positions[partition] = log.start
            start.notes.append(f"{gap}; the table has them: going on at {log.start}")
        elif rebuild:
            start.positions[partition] = start.rebuilt[partition] = log.start
            start.notes.append(f"{gap}; --rebuild: going on at {log.start}")
        else:
            raise Fatal(f"{gap}, and the table does not have them: {REFILL}")
    return start


def _wanted(stored: int | None, log: PartitionOffsets) -> int:
    if stored is None:
        return 0
    return stored if log.committed is None else min(stored, log.committed)


def _gap(partition: int, stored: int | None, wanted: int, log: PartitionOffsets) -> str | None:
    if wanted < log.start:
        holder = "there is no table yet" if stored is None else f"the table's fence is {stored}"
        return f"vectors, partition {partition}: records {wanted} to {log.start - 1} are gone from Kafka ({holder})"
    if log.end is not None and wanted > log.end:
        return f"vectors, partition {partition}: Kafka ends at {log.end}, the table was at {wanted}: Kafka lost records"
    return None


def accepted(fence: Fence, pages: str, vectors: str, *, adopt: bool) -> Fence:
    """The fence for these topics: unchanged when it knows them, else the one that `--adopt` asks for.

    Args:
        pages: Kafka's id of the `pages` topic as it is now.
        vectors: the same of the `vectors` topic.

    Raises:
        Fatal: a topic was made anew since the table last saw it, and `adopt` is not set.
    """
    new = [
        name for name, known in (("pages", pages in fence.pages), ("vectors", vectors == fence.vectors)) if not known
    ]
    if not new:
        return fence
    if not adopt:
        raise Fatal(
            f"the table was filled from other topics: {' and '.join(new)} were made anew since (another or a fresh "
            "Kafka?). To fill this table on from them, start sinks.lance once with --adopt, then run: "
            "python -m sinks.verify --repair; to keep it as it is, set another CIRROSTREAM_TABLE"
        )
    if "pages" in new:
        fence = msgspec.structs.replace(fence, pages=(*fence.pages, pages))
    if "vectors" in new:
        fence = msgspec.structs.replace(fence, vectors=vectors, offsets={})
    return fence
