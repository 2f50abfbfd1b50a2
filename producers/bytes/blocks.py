"""A dump file as blocks of decompressed bytes, read forwards with bounded memory.

Wikimedia's bz2 files may be many streams one after the other, and so may a gzip file be. Python's own file objects
are of no use here: `bz2.open` takes garbage behind a stream for the end of the file, and a read that meets the damage
keeps what it had already decompressed to itself.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

from isal import igzip_lib

READ_BYTES = 1024 * 1024
"""Compressed bytes asked of the disk at once."""

BLOCK_BYTES = 4 * 1024 * 1024
"""Largest block given out: one read of well compressed text would otherwise become a hundred times its size. Not
smaller: bz2 takes the interpreter back four times for the first MiB of a block and once for the next three, and waits
for it where another thread makes pages. With 1 MiB a shard took 6 to 7 % longer."""

PLAIN_SUFFIXES = (".json", ".ndjson")
SUFFIXES = tuple(plain + packed for plain in PLAIN_SUFFIXES for packed in ("", ".bz2", ".gz"))


class Damaged(Exception):
    """The file cannot be read to its end; what stood before the damage has been given out.

    `kind` is `cut off` when the file ends too early: what was read of it is right. It is `corrupt` when the bytes
    themselves are wrong, which a decompressor may notice only after it has given out some of them.
    """

    def __init__(self, kind: Literal["cut off", "corrupt"], byte: int, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.byte = byte


class _Decompressor(Protocol):
    """What `bz2.BZ2Decompressor` and `igzip_lib.IgzipDecompressor` have in common: one stream, then `eof`."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _bunzip2() -> _Decompressor:
    return bz2.BZ2Decompressor()


def _gunzip() -> _Decompressor:
    decompressor: _Decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    return decompressor


_ISAL_ERROR: Any = igzip_lib.IsalError  # its stub takes the class for an instance

_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {".bz2": _bunzip2, ".gz": _gunzip}


class DumpFile:
    """One file of a dump, by its suffix bz2, gzip or plain; `bytes_read` is how far the file itself has been read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_read = 0

    def blocks(self) -> Iterator[bytes]:
        """The decompressed bytes, in blocks of at most 4 MiB.

        Raises:
            Damaged: the file is cut off or corrupt; all that could be read before has been given out.
            OSError: it cannot be opened or read at all.
        """
        with self.path.open("rb") as file:
            new_stream = _DECOMPRESSORS.get(self.path.suffix)
            yield from self._read(file) if new_stream is None else self._decompress(file, new_stream)

    def _read(self, file: BinaryIO) -> Iterator[bytes]:
        while data := file.read(READ_BYTES):
            self.bytes_read += len(data)
            yield data

    def _decompress(self, file: BinaryIO, new_stream: Callable[[], _Decompressor]) -> Iterator[bytes]:
        stream = new_stream()
        fresh = True  # nothing of the current stream has been read
        streams = 0
        for data in self._read(file):
            rest = data
            while rest:
                if fresh and streams and not rest.strip(b"\0"):
                    break  # zeros behind a stream are padding, as gzip(1) has it
                fresh = False
                yield from self._stream_blocks(stream, rest)
                rest = stream.unused_data if stream.eof else b""
                if stream.eof:
                    stream, fresh, streams = new_stream(), True, streams + 1
        if not fresh or not streams:
            raise Damaged("cut off", self.bytes_read, "it ends in the middle of a compressed stream")

    def _stream_blocks(self, stream: _Decompressor, data: bytes) -> Iterator[bytes]:
        while True:
            try:
                block = stream.decompress(data, BLOCK_BYTES)
            except (OSError, EOFError, ValueError, _ISAL_ERROR) as error:
                raise Damaged("corrupt", self.bytes_read, str(error)) from error
            if block:
                yield block
            # Not `needs_input`: bz2 says it while a whole block of text still waits inside.
            if stream.eof or not block:
                return
            data = b""
