"""Folders in object stores are sources like any other: listed, fetched whole, and checked."""

from __future__ import annotations

import bz2
import random
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipeline.errors import CheckFailed, TryAgain, UsageError
from producers.cirrus import CIRRUS_NAMES, origin_of
from producers.fetch import store as stores
from producers.fetch.downloads import Downloads
from producers.fetch.part_file import PartFile
from producers.fetch.store import StoreFiles, find_remote
from producers.run.shards import Origin
from tests.dump_server import QuickClock

FOLDER = "20261115/index_name=enwiki_content"


def shard(number: int) -> bytes:
    return bz2.compress(random.Random(number).randbytes(30_000))


class Bucket:
    """A folder in fsspec's store in memory."""

    def __init__(self) -> None:
        self.name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.store = fsspec.filesystem("memory")

    @property
    def address(self) -> str:
        return f"memory://{self.name}"

    def put(self, path: str, content: bytes) -> None:
        self.store.pipe_file(f"/{self.name}/{path}", content)


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    bucket = Bucket()
    for number in (10, 2):
        bucket.put(f"{FOLDER}/enwiki_content-20261115-{number:05}.json.bz2", shard(number))
    bucket.put(f"{FOLDER}/_SUCCESS", b"")
    bucket.put("settings.json", b"{}")
    yield bucket
    bucket.store.rm(f"/{bucket.name}", recursive=True)


def fetched(source: str, folder: Path) -> list[Path]:
    server, files = find_remote(source, CIRRUS_NAMES)
    server.clock = QuickClock()
    with Downloads(server, files, folder) as downloads:
        return list(downloads)


def test_a_folder_in_a_bucket_is_fetched_file_by_file_in_order(bucket: Bucket, tmp_path: Path) -> None:
    paths = fetched(bucket.address, tmp_path)
    assert [path.name[-14:-9] for path in paths] == ["00002", "00010"]
    assert [path.read_bytes() for path in paths] == [shard(2), shard(10)]
    assert {origin_of(path) for path in paths} == {Origin("enwiki", "20261115")}
    assert all(path.is_relative_to(tmp_path.resolve()) for path in paths)


def test_one_file_and_a_glob_are_sources_too(bucket: Bucket, tmp_path: Path) -> None:
    assert len(fetched(f"{bucket.address}/{FOLDER}/enwiki_content-20261115-00002.json.bz2", tmp_path)) == 1
    assert len(fetched(f"{bucket.address}/**/*-0001?.json.bz2", tmp_path)) == 1
    assert len(fetched(f"{bucket.address}/settings.json", tmp_path)) == 1


def test_files_of_this_machine_can_be_named_by_address(bucket: Bucket, tmp_path: Path) -> None:
    there = tmp_path / "there" / "a b" / "enwiki_content-20261115-00002.json.bz2"
    there.parent.mkdir(parents=True)
    there.write_bytes(shard(2))
    (path,) = fetched(f"file://{there.parent}", tmp_path / "here")
    assert path.read_bytes() == shard(2)
    assert path != there


class BreakingStore:
    """A store whose reads break off after some bytes, once each."""

    def __init__(self, store: Any, breaks: list[int]) -> None:
        self._store, self._breaks = store, breaks
        self.read = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def open(self, path: str, mode: str) -> Any:
        stream, outer = self._store.open(path, mode), self
        left = self._breaks.pop(0) if self._breaks else 1 << 40

        class Stream:
            def seek(self, place: int) -> None:
                stream.seek(place)

            def read(self, size: int) -> bytes:
                nonlocal left
                if left <= 0:
                    raise OSError("connection reset")
                data: bytes = stream.read(min(size, left))
                left -= len(data)
                outer.read += len(data)
                return data

            def close(self) -> None:
                stream.close()

        return Stream()


def test_a_store_that_breaks_off_is_asked_for_the_rest(bucket: Bucket, tmp_path: Path) -> None:
    (_, files) = find_remote(f"{bucket.address}/**/*-00002.json.bz2", CIRRUS_NAMES)
    store = BreakingStore(bucket.store, [10_000, 0, 5_000])
    server = StoreFiles(lambda: store, "memory")
    server.clock = QuickClock()
    with Downloads(server, files, tmp_path) as downloads:
        (path,) = downloads
    assert path.read_bytes() == shard(2)
    assert store.read == len(shard(2))


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(bucket: Bucket, tmp_path: Path) -> None:
    (_, (file,)) = find_remote(f"{bucket.address}/**/*-00002.json.bz2", CIRRUS_NAMES)
    server = StoreFiles(lambda: bucket.store, "memory")
    part = PartFile(tmp_path / file.name)
    with part.opened():
        part.begin(server.look(file))
        part.write(b"the old one")
        bucket.put(file.address.split("/", 2)[2], shard(3))
        server.fetch(file, part)
        part.finish()
    assert part.target.read_bytes() == shard(3)


def test_a_cut_off_file_in_a_bucket_is_not_kept(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put(f"{FOLDER}/enwiki_content-20261115-00002.json.bz2", shard(2)[:-5])
    with pytest.raises(CheckFailed, match=r"00002\.json\.bz2.*does not end"):
        fetched(bucket.address, tmp_path)
    assert not list(tmp_path.rglob("*00002.json.bz2"))


def test_names_that_are_no_file_names_are_left_alone(bucket: Bucket, tmp_path: Path) -> None:
    for name in (".enwiki_content-20261115-00003.json.bz2", "enwiki content-20261115-00003.json.bz2", "a\\b.json.bz2"):
        bucket.put(f"odd/{name}", shard(3))
    with pytest.raises(UsageError, match="no dump file there"):
        fetched(f"{bucket.address}/odd", tmp_path)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("memory://nowhere-at-all", "memory://nowhere-at-all: no"),
        ("nonsense://x", "nonsense"),
        ("https://dumps.example/x", "--mirror"),
        ("zip::memory://x", "not an address"),
        ("ftp://", "ftp://: no host in it"),
        ("dbfs://x", "dbfs://x: cannot be opened"),
    ],
)
def test_an_address_that_means_nothing_is_said(source: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        find_remote(source, CIRRUS_NAMES)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("source", "package"), [("s3://b/x", "s3fs"), ("gs://b/x", "gcsfs")])
def test_a_missing_package_is_named(source: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("not installed")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(UsageError, match=f"pip install {package}"):
        find_remote(source, CIRRUS_NAMES)


def test_a_store_that_cannot_be_reached_is_tried_again_by_a_supervisor() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and nobody listens there
        host = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(
            TryAgain, match=rf"ftp://\*\*\*@{host}/dumps: cannot be reached: ConnectionRefused"
        ) as error:
            find_remote(f"ftp://reader:hunter2@{host}/dumps", CIRRUS_NAMES)
    assert "hunter2" not in str(error.value)


class SingleConnection:
    """A store such as that of `ftp://`: one thread's alone, and broken for good by its first failure."""

    def __init__(self, store: Any, failures: list[OSError]) -> None:
        self._store, self._failures = store, failures
        self._thread = threading.get_ident()
        self._broken = False

    def open(self, path: str, mode: str) -> Any:
        self._use()
        if self._failures:
            self._broken = True
            raise self._failures.pop()
        return self._store.open(path, mode)

    def __getattr__(self, name: str) -> Any:
        self._use()
        return getattr(self._store, name)

    def _use(self) -> None:
        assert threading.get_ident() == self._thread, "used by two threads"
        if self._broken:
            raise OSError("cannot read from timed out object")


def test_each_thread_has_a_connection_of_its_own_and_another_one_after_a_failure(
    bucket: Bucket, tmp_path: Path
) -> None:
    (_, files) = find_remote(bucket.address, CIRRUS_NAMES)
    failures = [OSError("timed out")] * 3
    server = StoreFiles(lambda: SingleConnection(bucket.store, failures), "memory")
    server.clock = QuickClock()
    with Downloads(server, files, tmp_path) as downloads:
        assert [path.read_bytes() for path in downloads] == [shard(2), shard(10)]
    assert not failures


def test_a_bucket_of_too_many_files_is_refused(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MAX_FILES", 1)
    with pytest.raises(UsageError, match="more than 1 files"):
        find_remote(bucket.address, CIRRUS_NAMES)
