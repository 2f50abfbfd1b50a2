"""Kinds of files by their first bytes, and the damage that shows at a compressed file's edges.

People name files wrongly, save text in UTF-16, or fetch a server's error page in a file's place. Read as the name says,
such a file is nothing but damage, line by line; one sentence tells what it is and what to type.
"""

from __future__ import annotations

import codecs
import os
import re
import shlex
from pathlib import PurePath
from typing import BinaryIO, NamedTuple

HEAD_BYTES = 4096

_BZ2_END = 0x177245385090
"""The square root of pi in BCD, which ends a bz2 stream; its 32-bit checksum and up to 7 bits of padding follow."""

_BZ2_LEAST = 14
"""Bytes of a bz2 file of nothing: the header, the end and the checksum."""

_UNPACK = {".bz2": "bzip2 -dc", ".gz": "gzip -dc"}
_PACKED = tuple(_UNPACK)


class _Kind(NamedTuple):
    what: str
    start: re.Pattern[bytes]
    suffix: str = ""
    """Of files of this kind, which are read as they are."""
    unpack: str = ""
    """Command that takes a file of this kind and prints what is in it."""


def _magic(what: str, start: bytes, suffix: str = "", unpack: str = "") -> _Kind:
    return _Kind(what, re.compile(re.escape(start)), suffix, unpack)


_KINDS = (
    _Kind("compressed with gzip", re.compile(rb"\x1f\x8b\x08"), ".gz", "gzip -dc"),
    _Kind("compressed with bzip2", re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), ".bz2", "bzip2 -dc"),
    _magic("a Parquet file, which `python -m producers.parquet` reads", b"PAR1", ".parquet"),
    _magic("compressed with xz", b"\xfd7zXZ\0", unpack="xz -dc"),
    _magic("compressed with zstd", b"\x28\xb5\x2f\xfd", unpack="zstd -dc"),
    _magic("compressed with lz4", b"\x04\x22\x4d\x18", unpack="lz4 -dc"),
    _magic("a zip archive", b"PK\x03\x04", unpack="unzip -p"),
    _magic("a 7z archive", b"7z\xbc\xaf\x27\x1c", unpack="7z x -so"),
    _Kind("a tar archive", re.compile(rb"(?s).{257}ustar"), unpack="tar -xOf"),
    _magic("text in UTF-32", b"\xff\xfe\0\0", unpack="iconv -f UTF-32 -t UTF-8"),
    _magic("text in UTF-32", b"\0\0\xfe\xff", unpack="iconv -f UTF-32 -t UTF-8"),
    _Kind("text in UTF-16", re.compile(rb"\xff\xfe|\xfe\xff"), unpack="iconv -f UTF-16 -t UTF-8"),
    _Kind("text in UTF-16", re.compile(rb"(?:[\t -~\r\n]\0){8}"), unpack="iconv -f UTF-16LE -t UTF-8"),
    _Kind("text in UTF-16", re.compile(rb"(?:\0[\t -~\r\n]){8}"), unpack="iconv -f UTF-16BE -t UTF-8"),
    _Kind(
        "a page of HTML, such as a server sends in place of a file: look at it in a browser and fetch the file again",
        re.compile(rb"(?i)(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body)[\s>]"),
    ),
    _Kind(
        "a store's answer that it will not give the file: look at it in an editor and fetch the file again",
        re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^<>]{0,100}>\s*)?<Error>"),
    ),
    _magic("a pointer of Git LFS to a file that is elsewhere: `git lfs pull` fetches it", b"version https://git-lfs."),
)


def mismatch(name: str, head: bytes, *, inside: bool = False) -> str:
    """Says what a file is that cannot be what its name says, and what to type; empty when nothing is to be seen.

    Args:
        name: The file's own, without folders.
        head: Its first `HEAD_BYTES`, or all of it.
        inside: True: of what stands in this compressed file, False: of the file as it lies on disk.
    """
    path = PurePath(name)
    packed = path.suffix in _PACKED
    found = next((kind for kind in _KINDS if kind.start.match(head)), None)
    if found is None:
        return "" if inside else _text_in_disguise(path, head)
    if found.suffix == path.suffix and not inside:
        return ""
    if not found.suffix and not found.unpack:
        return f"it is {found.what}"
    if not inside and found.suffix and path.suffix != ".parquet":
        stem = path.stem if packed or found.suffix not in _PACKED else name
        return f"it is {found.what}: `{_renamed(path, stem + found.suffix)}`"
    outer = [_UNPACK[path.suffix]] if inside else []
    first, *then = filter(None, (*outer, found.unpack))
    command = " | ".join((f"{first} {shlex.quote(name)}", *then))
    target = "new-" + (path.stem if packed else name) + ("" if found.unpack else found.suffix)
    return f"{'in it' if inside else 'it'} is {found.what}: `{command} > {shlex.quote(target)}`"


def _text_in_disguise(path: PurePath, head: bytes) -> str:
    if path.suffix not in (*_PACKED, ".parquet") or not _is_text(head):
        return ""
    if path.suffix in _PACKED:
        return f"it is text, and not compressed: `{_renamed(path, path.stem)}`"
    advice = f": `{_renamed(path, path.stem + '.jsonl')}`" if head.lstrip().startswith(b"{") else ""
    return f"it is text, and no Parquet file{advice}"


def edge_fault(name: str, file: BinaryIO) -> str:
    """Tells what is wrong with a whole file of this name at its edges; empty when nothing is to be seen.

    Decompressing 600 MB of bz2 takes minutes. A file that was cut off, or whose server lied about its length, shows it
    in its last bytes; one that is damaged in the middle is found by the reader, whose decompressor checks every block.
    For gzip, whose end has no mark, only the start is looked at.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(4)
    if name.endswith(".bz2"):
        if start[:3] != b"BZh":
            return "it does not begin as a bz2 file does"
        file.seek(max(0, size - _BZ2_LEAST))
        if size < _BZ2_LEAST or not _ends_bz2(file.read()):
            return "it does not end where a bz2 stream ends"
    elif name.endswith(".gz") and start[:3] != b"\x1f\x8b\x08":
        return "it does not begin as a gzip file does"
    return ""


def _renamed(path: PurePath, name: str) -> str:
    return f"mv {shlex.quote(path.name)} {shlex.quote(name)}"


def _is_text(head: bytes) -> bool:
    """True of UTF-8 without control characters; a character that the head ends in the middle of is let pass."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return bool(text.strip()) and not re.search(r"[\x00-\x08\x0e-\x1f\x7f]", text)


def _ends_bz2(tail: bytes) -> bool:
    """The mark lies at any bit: the stream is bits, and only its last byte is filled up with zeros."""
    bits = int.from_bytes(tail, "big")
    return any(
        (bits >> (32 + padding)) & 0xFFFF_FFFF_FFFF == _BZ2_END and bits & ((1 << padding) - 1) == 0
        for padding in range(8)
    )
