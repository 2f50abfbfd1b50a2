"""Decompresses in one thread while another makes pages of what came before.

bz2 lets other threads run while it works, and is slower than everything behind it: with a core for each, a shard is
read at the decompressor's speed. Memory: at most `BLOCKS` blocks of 4 MiB wait.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterable

BLOCKS = 2
PUT_SECONDS = 0.1


def read_ahead(blocks: Iterable[bytes]) -> Generator[bytes, None, None]:
    """The same blocks, and the same error behind the last of them; the thread ends when the generator is closed."""
    waiting: queue.Queue[bytes | BaseException | None] = queue.Queue(BLOCKS)
    closed = threading.Event()

    def put(item: bytes | BaseException | None) -> None:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=PUT_SECONDS)
                return

    def work() -> None:
        try:
            for block in blocks:
                put(block)
                if closed.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the thread that reads
            put(error)

    threading.Thread(target=work, name="decompress", daemon=True).start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
