"""Messages over a pipe or a socket, between a process and its child: their length, then their bytes."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

_LENGTH = struct.Struct("<I")
_READ_BYTES = 1024 * 1024


def frame(data: bytes) -> bytes:
    """The message as it goes over the line, for a side that writes with a time limit of its own."""
    return _LENGTH.pack(len(data)) + data


def write_frame(descriptor: int, data: bytes) -> None:
    """Raises BrokenPipeError when the other side is gone."""
    rest = memoryview(frame(data))
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _no_wait(_: int) -> None:
    pass


def read_frame(descriptor: int, wait: Callable[[int], None] = _no_wait) -> bytes | None:
    """The message that `write_frame` wrote; None when the other side is gone.

    `wait` is called before each read, which blocks; what it raises ends the reading.
    """
    head = _read(descriptor, _LENGTH.size, wait)
    return None if head is None else _read(descriptor, _LENGTH.unpack(head)[0], wait)


def _read(descriptor: int, size: int, wait: Callable[[int], None]) -> bytes | None:
    found = bytearray()
    while len(found) < size:
        wait(descriptor)
        if not (more := os.read(descriptor, min(_READ_BYTES, size - len(found)))):
            return None
        found += more
    return bytes(found)
