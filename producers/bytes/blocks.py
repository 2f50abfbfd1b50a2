"""Files as blocks of decompressed bytes, read forwards with bounded memory.

Wikimedia's bz2 files may be many streams one after the other, and so may a gzip file be. Python's own file objects
are of no use here: `bz2.open` takes garbage behind a stream for the end of the file, and a read that meets the damage
keeps what it had already decompressed to itself.
"""

from __future__ import annotations

import bz2
import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

from isal import igzip_lib

from producers.bytes.kinds import HEAD_BYTES, mismatch

READ_BYTES = 1024 * 1024
"""Compressed bytes asked of the disk at once."""

LEAST_SLICE_BYTES = 256
"""First slice of a stream that follows on a short one; each further slice is four times as long."""

BLOCK_BYTES = 4 * 1024 * 1024
"""Largest block given out: one read of well compressed text would otherwise become a hundred times its size. Not
smaller: bz2 takes the interpreter back four times for the first MiB of a block and once for the next three, and waits
for it where another thread makes pages. With 1 MiB a shard took 6 to 7 % longer."""

PACKINGS = ("", ".bz2", ".gz")
"""Endings behind that of the format: how a file may be compressed."""


class Damaged(Exception):
    """The file cannot be read to its end; what stood before the damage has been given out.

    `kind` is `cut off` when the file ends too early: what was read of it is right. It is `corrupt` when the bytes
    themselves are wrong, which a decompressor may notice only after it has given out some of them.
    """

    def __init__(self, kind: Literal["cut off", "corrupt"], byte: int, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.byte = byte


class WrongKind(Damaged):
    """The file is not what its name says, as a sentence tells that needs no other: nothing of it has been read."""

    def __init__(self, sentence: str) -> None:
        super().__init__("corrupt", 0, sentence)


class _Decompressor(Protocol):
    """The common part of `bz2.BZ2Decompressor` and `igzip_lib.IgzipDecompressor`: one stream, then `eof`."""

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


class PackedFile:
    """A file that is bz2, gzip or plain, by its suffix; `bytes_read` is how far the file itself has been read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_read = 0

    def blocks(self) -> Iterator[bytes]:
        """The decompressed bytes, in blocks of at most 4 MiB; an empty one where a MiB of the file had nothing in it.

        Raises:
            WrongKind: it is not what its name says, or text in UTF-16.
            Damaged: the file is cut off or corrupt; all that could be read before has been given out.
            OSError: it cannot be opened or read at all.
        """
        with self.path.open("rb") as file:
            self._check(file.read(HEAD_BYTES), inside=False)
            file.seek(0)
            if (new_stream := _DECOMPRESSORS.get(self.path.suffix)) is None:
                yield from self._read(file)
                return
            checked = False
            for block in self._decompress(file, new_stream):
                if block and not checked:
                    self._check(block[:HEAD_BYTES], inside=True)
                    checked = True
                yield block

    def _check(self, head: bytes, *, inside: bool) -> None:
        if wrong := mismatch(self.path.name, head, inside=inside):
            raise WrongKind(wrong)

    def _read(self, file: BinaryIO) -> Iterator[bytes]:
        while data := file.read(READ_BYTES):
            self.bytes_read += len(data)
            yield data

    def _decompress(self, file: BinaryIO, new_stream: Callable[[], _Decompressor]) -> Iterator[bytes]:
        stream = new_stream()
        length, streams = 0, 0  # bytes of the current stream that were read, and streams before it
        slice_bytes = READ_BYTES
        for data in self._read(file):
            begin, given = 0, False
            while begin < len(data):
                if streams and not length and not data[begin] and not data[begin:].strip(b"\0"):
                    break  # zeros behind a stream are padding, as gzip(1) has it
                part = data[begin : begin + slice_bytes]
                for block in self._stream_blocks(stream, part):
                    given = True
                    yield block
                begin, length = begin + len(part), length + len(part)
                slice_bytes = min(READ_BYTES, slice_bytes * 4)
                if stream.eof:
                    # It copies what it did not use: a MiB for each of the 70,000 empty streams that a MiB may hold.
                    unused = len(stream.unused_data)
                    slice_bytes = min(READ_BYTES, max(LEAST_SLICE_BYTES, 2 * (length - unused)))
                    begin, length, streams, stream = begin - unused, 0, streams + 1, new_stream()
            if not given:
                yield b""  # whoever reads may have to stop meanwhile
        if length or not streams:
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
