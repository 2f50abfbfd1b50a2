"""A file that is not what its name says is told in one sentence, with what to type; any other file is left alone."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shlex
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from producers.bytes.blocks import PackedFile, WrongKind
from producers.bytes.kinds import HEAD_BYTES, mismatch

LINE = '{"id": "1", "text": "Über den Fluss führt eine Brücke."}\n'
TEXT = LINE.encode()


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"id": ["1"]}), file)
    return file.getvalue()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("notes.jsonl", TEXT)
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("notes.jsonl")
        entry.size = len(TEXT)
        archive.addfile(entry, io.BytesIO(TEXT))
    return file.getvalue()


PACKED_PARQUET = gzip.compress(parquet(), mtime=0)

SENTENCES = [
    ("notes.jsonl", gzip.compress(TEXT, mtime=0), "it is compressed with gzip: `mv notes.jsonl notes.jsonl.gz`"),
    ("notes.jsonl", bz2.compress(TEXT), "it is compressed with bzip2: `mv notes.jsonl notes.jsonl.bz2`"),
    ("notes.jsonl", bz2.compress(b""), "it is compressed with bzip2: `mv notes.jsonl notes.jsonl.bz2`"),
    ("a b.jsonl.gz", TEXT, "it is text, and not compressed: `mv 'a b.jsonl.gz' 'a b.jsonl'`"),
    ("notes.json.bz2", TEXT, "it is text, and not compressed: `mv notes.json.bz2 notes.json`"),
    ("notes.json.bz2", gzip.compress(TEXT, mtime=0), "it is compressed with gzip: `mv notes.json.bz2 notes.json.gz`"),
    ("notes.jsonl", lzma.compress(TEXT), "it is compressed with xz: `xz -dc notes.jsonl > new-notes.jsonl`"),
    ("notes.jsonl.gz", lzma.compress(TEXT), "it is compressed with xz: `xz -dc notes.jsonl.gz > new-notes.jsonl`"),
    ("notes.jsonl", zipped(), "it is a zip archive: `unzip -p notes.jsonl > new-notes.jsonl`"),
    ("notes.jsonl", tarred(), "it is a tar archive: `tar -xOf notes.jsonl > new-notes.jsonl`"),
    (
        "notes.jsonl",
        parquet(),
        "it is a Parquet file, which `python -m producers.parquet` reads: `mv notes.jsonl notes.parquet`",
    ),
    (
        "a.parquet",
        gzip.compress(parquet(), mtime=0),
        "it is compressed with gzip: `gzip -dc a.parquet > new-a.parquet`",
    ),
    ("notes.parquet", TEXT, "it is text, and no Parquet file: `mv notes.parquet notes.jsonl`"),
    ("notes.jsonl", LINE.encode("utf-16"), "it is text in UTF-16: `iconv -f UTF-16 -t UTF-8 notes.jsonl > "),
    (
        "notes.xml",
        LINE.encode("utf-16-le"),
        "it is text in UTF-16: `iconv -f UTF-16LE -t UTF-8 notes.xml > new-notes.xml`",
    ),
    (
        "notes.json",
        LINE.encode("utf-16-be"),
        "it is text in UTF-16: `iconv -f UTF-16BE -t UTF-8 notes.json > new-notes.json`",
    ),
    (
        "notes.json",
        LINE.encode("utf-32"),
        "it is text in UTF-32: `iconv -f UTF-32 -t UTF-8 notes.json > new-notes.json`",
    ),
    ("x.json.bz2", b"\n<!DOCTYPE html>\n<title>503</title>", "it is a page of HTML"),
    ("x.json", b"<html><body>Too many requests</body></html>", "it is a page of HTML"),
    ("x.jsonl", b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "it is a store's answer"),
    ("x.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "it is a pointer of Git LFS"),
]


@pytest.mark.parametrize(("name", "content", "sentence"), SENTENCES)
def test_a_file_of_another_kind_than_its_name_is_told_with_what_to_type(
    name: str, content: bytes, sentence: str
) -> None:
    assert mismatch(name, content[:HEAD_BYTES]).startswith(sentence)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.jsonl", TEXT),
        ("notes.jsonl", b"\xef\xbb\xbf" + TEXT),
        ("notes.jsonl", b""),
        ("notes.jsonl", b"[]"),
        ("notes.jsonl", b"BZhou is a town"),
        ("export.xml", b'<?xml version="1.0"?><mediawiki><Error>'),
        ("notes.jsonl.gz", gzip.compress(TEXT, mtime=0)),
        ("notes.jsonl.gz", b""),
        ("notes.jsonl.gz", b"\x00\x01garbled"),
        ("notes.jsonl.bz2", bz2.compress(TEXT)),
        ("notes.parquet", parquet()),
        ("notes.json", ("é" * HEAD_BYTES).encode()[: HEAD_BYTES - 1]),
    ],
)
def test_a_file_that_may_be_what_its_name_says_is_left_alone(name: str, content: bytes) -> None:
    assert mismatch(name, content) == ""


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (bz2.compress, ".bz2")])
@pytest.mark.parametrize(
    "inner", [gzip.compress(TEXT, mtime=0), bz2.compress(TEXT), LINE.encode("utf-16")], ids=["gzip", "bzip2", "utf-16"]
)
def test_what_the_sentence_says_to_type_makes_a_file_that_can_be_read(
    tmp_path: Path, pack: Callable[[bytes], bytes], suffix: str, inner: bytes
) -> None:
    path = tmp_path / f"my notes.jsonl{suffix}"
    path.write_bytes(pack(inner))
    with pytest.raises(WrongKind) as wrong:
        list(PackedFile(path).blocks())
    command = str(wrong.value).split("`")[1]
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, timeout=60)
    made = tmp_path / shlex.split(command)[-1]
    assert b"".join(PackedFile(made).blocks()).decode("utf-8-sig") == LINE


@pytest.mark.parametrize(
    ("name", "content"), [(name, content) for name, content, _ in SENTENCES if "parquet" not in name]
)
def test_nothing_of_such_a_file_is_given_out(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WrongKind) as wrong:
        next(PackedFile(path).blocks())
    assert (wrong.value.kind, wrong.value.byte) == ("corrupt", 0)
