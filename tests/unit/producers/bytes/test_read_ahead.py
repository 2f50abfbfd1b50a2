"""Blocks read ahead are the same blocks, and an error comes behind the last of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from producers.bytes.blocks import BLOCKS, Damaged, read_ahead
from tests.waiting import wait_until


def test_the_blocks_come_in_their_order() -> None:
    blocks = [bytes([n]) * n for n in range(100)]
    assert list(read_ahead(blocks)) == blocks


def test_an_error_comes_behind_what_was_read_before_it() -> None:
    def damaged() -> Iterator[bytes]:
        yield b"good"
        raise Damaged("cut off", 4, "it ends")

    found = read_ahead(damaged())
    assert next(found) == b"good"
    with pytest.raises(Damaged, match="it ends"):
        next(found)


def test_no_more_than_a_few_blocks_wait() -> None:
    given: list[int] = []

    def endless() -> Iterator[bytes]:
        for number in range(10_000):
            given.append(number)
            yield b"block"

    found = read_ahead(endless())
    next(found)
    wait_until(lambda: len(given) >= BLOCKS + 1, "the queue to fill")
    assert len(given) <= BLOCKS + 3
    found.close()


def test_the_thread_ends_with_the_reading() -> None:
    found = read_ahead(b"block" for _ in range(1_000_000))
    next(found)
    found.close()
    wait_until(lambda: not any(thread.name == "decompress" for thread in threading.enumerate()), "its end")
