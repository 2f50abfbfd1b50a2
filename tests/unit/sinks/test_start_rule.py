"""Where a sink begins to read, in every combination of fence, commit and log; and topics made anew."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from pipeline.errors import Fatal
from sinks.start import PartitionOffsets, accepted, start_positions
from tests.tables import FENCE


def position(fence: int | None, committed: int | None, start: int = 0, end: int | None = 1000, **flags: bool) -> int:
    offsets = None if fence is None else {3: fence}
    return start_positions(offsets, {3: PartitionOffsets(committed, start, end)}, **flags).positions[3]


def test_without_a_table_everything_is_read_whatever_is_committed() -> None:
    assert position(None, None) == 0
    assert position(None, 500) == 0


def test_with_a_table_and_no_commit_the_fence_counts() -> None:
    assert position(70, None) == 70


def test_the_smaller_of_fence_and_commit_counts() -> None:
    assert position(70, 60) == 60
    assert position(70, 80) == 70


def test_a_partition_that_the_fence_does_not_know_starts_at_0() -> None:
    assert start_positions({}, {5: PartitionOffsets(None, 0, 10)}).positions == {5: 0}


def test_trimmed_records_that_the_table_has_are_not_missed() -> None:
    start = start_positions({3: 70}, {3: PartitionOffsets(50, 60, 100)})
    assert start.positions == {3: 60}
    assert "going on at 60" in start.notes[0]
    assert position(70, 50, start=70) == 70


@pytest.mark.parametrize(
    ("fence", "committed", "start", "end"),
    [
        (None, None, 1, 10),
        (None, 500, 1, 1000),
        (70, None, 71, 100),
        (70, 50, 71, 100),
        (70, 90, 71, 100),
        (70, 70, 0, 69),
    ],
)
def test_a_gap_is_fatal_and_says_what_to_type(fence: int | None, committed: int | None, start: int, end: int) -> None:
    with pytest.raises(Fatal, match=r"--rebuild, then run: python -m pipeline\.replay --stage chunk"):
        position(fence, committed, start, end)
    assert position(fence, committed, start, end, rebuild=True) == start


def test_rebuild_moves_only_partitions_with_a_gap() -> None:
    logs = {0: PartitionOffsets(5, 0, 10), 1: PartitionOffsets(5, 7, 10), 2: PartitionOffsets(5, 6, 10)}
    start = start_positions({0: 5, 1: 5, 2: 6}, logs, rebuild=True)
    assert start.positions == {0: 5, 1: 7, 2: 6}
    assert start.rebuilt == {1: 7}


def test_in_every_case_nothing_between_the_table_and_the_position_is_skipped() -> None:
    """Exhaustive over small numbers: a position never lies above what the table has, nor outside the log."""
    marks = [None, 0, 1, 2, 3]
    for fence, committed, start, end in itertools.product(marks, marks, range(4), range(4)):
        if start > end:
            continue
        try:
            found = position(fence, committed, start, end)
        except Fatal:
            stored = fence or 0
            wanted = stored if committed is None or fence is None else min(stored, committed)
            assert start > stored or wanted > end
            continue
        assert start <= found <= end
        assert found <= max(fence or 0, 0)
        assert committed is None or fence is None or found <= max(committed, start)


def test_known_topics_change_nothing() -> None:
    assert accepted(FENCE, "pages-id", "vectors-id", adopt=False) is FENCE
    assert accepted(FENCE, "pages-id", "vectors-id", adopt=True) is FENCE


@pytest.mark.parametrize(("pages", "vectors"), [("new", "vectors-id"), ("pages-id", "new"), ("new", "new")])
def test_topics_made_anew_are_fatal_until_adopted(pages: str, vectors: str) -> None:
    with pytest.raises(Fatal, match=r"made anew.*--adopt"):
        accepted(FENCE, pages, vectors, adopt=False)


def test_adopted_pages_come_after_those_before_and_keep_the_offsets() -> None:
    fence = accepted(FENCE.moved({0: 5}), "new", "vectors-id", adopt=True)
    assert fence.pages == ("pages-id", "new")
    assert fence.offsets == {0: 5}


def test_adopted_vectors_are_read_from_their_beginning() -> None:
    fence = accepted(FENCE.moved({0: 5}), "pages-id", "new", adopt=True)
    assert fence == msgspec.structs.replace(FENCE, vectors="new")
