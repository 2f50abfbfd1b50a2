"""Messages between the chunk stage and the process that chunks: msgpack over a socket, one answer a question.

The stage sends a `Task` and hears `Ready` or `Failed`. Then it sends records and hears an `Answer`, or `Failed` when
the process must not go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from consumers.vocabulary import NOTHING_UNKNOWN, Unknown
from pipeline.model_files import ModelFiles
from pipeline.rejected import Rejected
from pipeline.settings import Unit


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """The first message to the process."""

    files: ModelFiles
    unit: Unit
    window_tokens: int
    overlap_tokens: int
    topic_id: str
    """Of `pages`, for the versions of what is made."""


class PageRecord(msgspec.Struct, frozen=True, array_like=True):
    """A record of `pages` as Kafka has it; no value: the page is deleted."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes | None

    @classmethod
    def of(cls, message: Any) -> PageRecord:
        """The record in a faust message."""
        return cls(message.topic, message.partition, message.offset, message.key or b"", message.value)

    @property
    def size(self) -> int:
        """Bytes of key and value."""
        return len(self.key) + len(self.value or b"")

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"


class Made(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A chunked record: `value` is its encoded `ChunkedPage`."""

    value: bytes
    chunks: int = 0
    tokens: int = 0
    unknown: Unknown = NOTHING_UNKNOWN


class Answer(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The outcome of each record, in order, and the time that decoding took."""

    results: list[Made | Rejected]
    decode_seconds: float = 0.0


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The tokenizer is loaded; `notice` is for the operator, mostly empty."""

    notice: str = ""


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Nothing more can be done, with the stage's exit code and its one line."""

    exit_code: int
    message: str


def _write_path(value: Any) -> str:
    if not isinstance(value, Path):
        raise NotImplementedError
    return str(value)


def _read_path(kind: type, value: Any) -> Any:
    if kind is not Path:
        raise NotImplementedError
    return Path(value)


_encoder = msgspec.msgpack.Encoder(enc_hook=_write_path)
_task = msgspec.msgpack.Decoder(Task, dec_hook=_read_path)
_records = msgspec.msgpack.Decoder(list[PageRecord])
_reply = msgspec.msgpack.Decoder(Ready | Failed | Answer)


def encode(message: Task | Sequence[PageRecord] | Ready | Failed | Answer) -> bytes:
    """The message as bytes for the socket."""
    return _encoder.encode(message)


def decode_task(data: bytes) -> Task:
    return _task.decode(data)


def decode_records(data: bytes) -> list[PageRecord]:
    return _records.decode(data)


def decode_reply(data: bytes) -> Ready | Failed | Answer:
    reply: Ready | Failed | Answer = _reply.decode(data)
    return reply
