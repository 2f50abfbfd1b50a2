"""Compressed files come out whole, and a damaged one gives what stands before the damage."""

from __future__ import annotations

import bz2
import gzip
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from producers.bytes import blocks
from producers.bytes.blocks import BLOCK_BYTES, READ_BYTES, Damaged, PackedFile

Compress = Callable[[bytes], bytes]
FORMATS = [pytest.param(bz2.compress, ".json.bz2", id="bz2"), pytest.param(gzip.compress, ".json.gz", id="gz")]


def text(size: int) -> bytes:
    """Compresses to about a half, evenly."""
    return random.Random(4).randbytes(size // 2).hex().encode()


def read(path: Path) -> tuple[bytes, Damaged | None]:
    """What came out, and the damage that it ended in."""
    out = bytearray()
    try:
        for block in PackedFile(path).blocks():
            assert len(block) <= BLOCK_BYTES
            out += block
    except Damaged as damage:
        return bytes(out), damage
    return bytes(out), None


def written(folder: Path, suffix: str, data: bytes) -> Path:
    path = folder / f"shard{suffix}"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("compress", "suffix"), [*FORMATS, pytest.param(bytes, ".json", id="plain")])
def test_a_file_comes_out_whole_in_bounded_blocks(tmp_path: Path, compress: Compress, suffix: str) -> None:
    data = text(5_000_000)
    assert read(written(tmp_path, suffix, compress(data))) == (data, None)


@pytest.mark.parametrize(("compress", "suffix"), FORMATS)
def test_many_streams_in_one_file_are_one_text(tmp_path: Path, compress: Compress, suffix: str) -> None:
    parts = [text(300_000), b"", b"small\n", text(700_000)]
    assert read(written(tmp_path, suffix, b"".join(map(compress, parts)))) == (b"".join(parts), None)


@pytest.mark.parametrize(("compress", "suffix"), FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_a_cut_off_file_gives_what_stands_before_the_cut(
    tmp_path: Path, compress: Compress, suffix: str, share: float
) -> None:
    data = text(4_000_000)
    packed = compress(data)
    cut = int(len(packed) * share)
    out, damage = read(written(tmp_path, suffix, packed[:cut]))
    assert damage is not None
    assert (damage.kind, damage.byte) == ("cut off", cut)
    assert data.startswith(out)
    # bz2 gives a block only when it has all of it: at most one of 900 kB of text may be missing.
    assert len(out) >= len(data) * share - 1_000_000


def test_a_cut_after_a_whole_bz2_block_still_gives_that_block(tmp_path: Path) -> None:
    data = b"x" * 20_000_000  # in one block, whose text is given out in twenty
    footer = 10
    for cut in range(1, footer + 1):
        out, damage = read(written(tmp_path, ".json.bz2", bz2.compress(data)[:-cut]))
        assert damage is not None
        assert out == data, cut


@pytest.mark.parametrize(("compress", "suffix"), FORMATS)
def test_a_cut_between_two_streams_cannot_be_told_but_one_in_the_second_can(
    tmp_path: Path, compress: Compress, suffix: str
) -> None:
    first, second = compress(b"one\n"), compress(b"two\n")
    out, damage = read(written(tmp_path, suffix, first + second[:3]))
    assert out == b"one\n"
    assert damage is not None
    assert damage.kind == "cut off"


@pytest.mark.parametrize(("compress", "suffix"), FORMATS)
def test_garbage_behind_a_stream_is_corrupt_and_not_the_end(tmp_path: Path, compress: Compress, suffix: str) -> None:
    out, damage = read(written(tmp_path, suffix, compress(b"one\n") + b"<html>busy</html>" * 3))
    assert out == b"one\n"
    assert damage is not None
    assert damage.kind == "corrupt"


@pytest.mark.parametrize(("compress", "suffix"), FORMATS)
def test_zeros_behind_the_last_stream_are_padding(tmp_path: Path, compress: Compress, suffix: str) -> None:
    assert read(written(tmp_path, suffix, compress(b"one\n") + bytes(512))) == (b"one\n", None)


@pytest.mark.parametrize(("compress", "suffix"), FORMATS)
def test_a_flipped_byte_is_found(tmp_path: Path, compress: Compress, suffix: str) -> None:
    packed = bytearray(compress(text(3_000_000)))
    packed[len(packed) // 2] ^= 0x55
    _, damage = read(written(tmp_path, suffix, bytes(packed)))
    assert damage is not None


def test_an_html_page_in_place_of_a_shard_is_corrupt_at_its_start(tmp_path: Path) -> None:
    for suffix in (".json.bz2", ".json.gz"):
        out, damage = read(written(tmp_path, suffix, b"<html>403 Forbidden</html>"))
        assert out == b""
        assert damage is not None
        assert damage.kind == "corrupt"


@pytest.mark.parametrize(("compress", "suffix"), FORMATS)
def test_streams_of_nothing_are_read_in_time_that_grows_with_their_number(
    tmp_path: Path, compress: Compress, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decompressor copies what it was given and did not use."""
    handed = 0
    new_stream = blocks._DECOMPRESSORS[Path(suffix).suffix]

    class Counting:
        def __init__(self) -> None:
            self._stream = new_stream()

        def decompress(self, data: bytes, max_length: int = -1) -> bytes:
            nonlocal handed
            handed += len(data)
            return self._stream.decompress(data, max_length)

        def __getattr__(self, name: str) -> object:
            return getattr(self._stream, name)

    monkeypatch.setitem(blocks._DECOMPRESSORS, Path(suffix).suffix, Counting)
    packed = compress(b"") * 5_000 + compress(b"one\n") + compress(b"") * 5_000 + compress(text(2_000_000))
    path = written(tmp_path, suffix, packed)
    assert read(path) == (b"one\n" + text(2_000_000), None)
    assert handed < 50 * len(packed)


@pytest.mark.parametrize(("compress", "suffix"), FORMATS)
def test_whoever_reads_a_file_of_nothing_is_asked_meanwhile(tmp_path: Path, compress: Compress, suffix: str) -> None:
    path = written(tmp_path, suffix, compress(b"") * (2 * READ_BYTES // len(compress(b"")) + 1))
    assert list(PackedFile(path).blocks()) == [b""] * 3


@pytest.mark.parametrize(("compress", "suffix"), FORMATS)
def test_zeros_behind_a_stream_are_padding_wherever_a_read_ends(
    tmp_path: Path, compress: Compress, suffix: str
) -> None:
    path = written(tmp_path, suffix, compress(b"one\n") + bytes(READ_BYTES + 5))
    assert read(path) == (b"one\n", None)
