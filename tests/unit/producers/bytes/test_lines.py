"""The same lines come out however the bytes are cut into blocks, from wherever reading goes on."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from producers.bytes.lines import BYTE_ORDER_MARK, Line, Position, read_lines

marks = st.sampled_from([b"", b"", BYTE_ORDER_MARK])
texts = st.lists(st.tuples(marks, st.binary(max_size=12)).map(b"".join), max_size=12).map(b"\n".join)
cuts = st.lists(st.integers(0, 160), max_size=8)


def in_blocks(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(at), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def contents(lines: list[Line]) -> list[bytes | None]:
    return [None if line.data is None else bytes(line.data) for line in lines]


@given(texts, cuts)
def test_any_cut_into_blocks_gives_the_same_lines(data: bytes, at: list[int]) -> None:
    lines = list(read_lines(in_blocks(data, at)))
    expected = [line.removeprefix(BYTE_ORDER_MARK) for line in data.split(b"\n")] if data else []
    assert contents(lines) == (expected[:-1] if data.endswith(b"\n") else expected)
    assert [line.number for line in lines] == list(range(len(lines)))
    if lines:
        assert lines[-1].after.offset == len(data)


@given(texts, cuts, cuts)
def test_reading_goes_on_from_every_position_with_the_very_next_line(
    data: bytes, at: list[int], other: list[int]
) -> None:
    lines = list(read_lines(in_blocks(data, at)))
    for passed, line in enumerate(lines, start=1):
        rest = list(read_lines(in_blocks(data, other), line.after))
        assert contents(rest) == contents(lines[passed:])
        assert [r.after for r in rest] == [a.after for a in lines[passed:]]


@given(texts, cuts, st.integers(0, 12))
def test_a_line_above_the_bound_is_left_out_and_its_neighbours_are_not(data: bytes, at: list[int], bound: int) -> None:
    whole = list(read_lines(in_blocks(data, at)))
    bounded = list(read_lines(in_blocks(data, at), max_bytes=bound))
    assert [line.after for line in bounded] == [line.after for line in whole]
    lengths = [len(line) for line in data.split(b"\n")]
    expected = zip(contents(whole), lengths, strict=False)  # behind the last newline there is no line
    assert contents(bounded) == [line if length <= bound else None for line, length in expected]


def test_an_endless_line_takes_no_memory() -> None:
    block = b"x" * 100_000
    tracemalloc.start()
    lines = list(read_lines((block for _ in range(2_000)), max_bytes=1_000_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lines == [Line(None, Position(1, 200_000_000))]
    assert peak < 5_000_000


def test_a_byte_order_mark_is_of_no_line_at_the_beginning_or_where_another_file_was_appended() -> None:
    file = "\ufeffone\ntwo\n".encode()
    lines = list(read_lines([file[:2], file[2:] + file]))
    assert contents(lines) == [b"one", b"two", b"one", b"two"]
    assert lines[-1].after == Position(4, 2 * len(file))
    assert contents(list(read_lines([file + file], lines[1].after))) == [b"one", b"two"]
