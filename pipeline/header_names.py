"""Lets kafka-python read records whose headers have names that are no UTF-8.

It decodes them strictly, inside `poll`: one such record, which any client in C can write, ends every consumer that
meets it, again after each restart, and no stage gets to see it. Java's clients read such a name with replacements;
so do ours now. Records without such names take the library's own way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint

_original: Callable[[Any], Any] = DefaultRecordBatch._read_msg


def read_any_header_name() -> None:
    """Lets every consumer of this process read such names from now on."""
    DefaultRecordBatch._read_msg = _read_msg


def _read_msg(batch: Any) -> Any:
    try:
        return _original(batch)
    except UnicodeDecodeError:
        _replace_names(batch._buffer, batch._pos)
        return _original(batch)


def _replace_names(buffer: bytearray, at: int) -> None:
    """Writes a question mark over each byte of the record's header names that is not ASCII.

    A record is: its length, attributes, two deltas, key, value, and headers, each of a name and a value; lengths come
    first, -1 for null (https://kafka.apache.org/documentation/#record).
    """
    for _ in range(4):
        _, at = decode_varint(buffer, at)
    for _ in ("key", "value"):
        size, at = decode_varint(buffer, at)
        at += max(0, size)
    headers, at = decode_varint(buffer, at)
    for _ in range(headers):
        size, at = decode_varint(buffer, at)
        buffer[at : at + size] = bytes(byte if byte < 128 else ord("?") for byte in buffer[at : at + size])
        size, at = decode_varint(buffer, at + size)
        at += max(0, size)
