"""Reading what the topic `progress` holds: records of several kinds, each with the number of its schema."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from pipeline.errors import Fatal

T = TypeVar("T", bound=msgspec.Struct)


class _Envelope(msgspec.Struct):
    schema: int


_envelope = msgspec.msgpack.Decoder(_Envelope)


def decode_record(data: bytes, kind: type[T], newest: int, name: str) -> T | None:
    """The record of this kind, or None when it is none: what it stood for is done again, and nothing is lost.

    Args:
        newest: the newest schema that this process knows.
        name: what the record is called in an error, such as `a manifest`.

    Raises:
        Fatal: a newer Cirrostream wrote it.
    """
    try:
        schema = _envelope.decode(data).schema
        if schema > newest:
            raise Fatal(f"{name} has schema {schema}, this process knows {newest}: upgrade it")
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
