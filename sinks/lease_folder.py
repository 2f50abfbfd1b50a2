"""The folder beside a table in which its readers' leases lie: `wikipedia.leases` next to `wikipedia.lance`.

It is read and written through Arrow's file systems, which every install has, so that a bucket needs no more than the
rights and the environment that the table itself needs.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from pipeline.errors import one_line

MAX_FILES = 64
"""Leases that are looked at, the youngest first: a reader holds one, and nobody has so many readers of one version."""

MAX_BYTES = 4096

_NAME = re.compile(r"[0-9a-f]{16}\.json\Z")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


class NoLeases(Exception):
    """There is no reading or writing leases at this place; the message says why."""


@dataclass(frozen=True, slots=True)
class LeaseFile:
    """A file that may be a lease: its bytes, or None when it is too large to be one."""

    name: str
    modified: float
    """Unix time, by the storage's clock."""
    data: bytes | None


class LeaseFolder:
    """Leases as files. Every method raises NoLeases when the place cannot be reached, read or written."""

    def __init__(self, table_uri: str) -> None:
        with _faults():
            self._store, self._table = _located(table_uri)
        self._path = f"{self._table.removesuffix('.lance')}.leases"

    def files(self) -> list[LeaseFile]:
        """All that may be leases, the youngest first and at most `MAX_FILES`."""
        with _faults():
            found = self._store.get_file_info(fs.FileSelector(self._path, allow_not_found=True))
            ours = [info for info in found if info.type is fs.FileType.File and _NAME.match(info.base_name)]
            ours.sort(key=lambda info: info.mtime_ns or 0, reverse=True)
            return [file for info in ours[:MAX_FILES] if (file := self._file(info)) is not None]

    def table_files(self) -> list[tuple[float, int]]:
        """The time at which each of the table's own files was written, and its bytes."""
        with _faults():
            found = self._store.get_file_info(fs.FileSelector(self._table, recursive=True, allow_not_found=True))
            return [((info.mtime_ns or 0) / 1e9, info.size or 0) for info in found if info.type is fs.FileType.File]

    def has(self, name: str) -> bool:
        with _faults():
            return bool(self._store.get_file_info(f"{self._path}/{name}").type is fs.FileType.File)

    def write(self, name: str, data: bytes) -> None:
        """Puts a file there at once and whole, in the place of one that has its name."""
        with _faults():
            if isinstance(self._store, fs.LocalFileSystem):
                _write_local(Path(self._path), name, data)
                return
            with self._store.open_output_stream(f"{self._path}/{name}") as stream:
                stream.write(data)

    def remove(self, name: str) -> None:
        """Removes a file; one that is gone already is no fault."""
        with _faults(), contextlib.suppress(FileNotFoundError):
            self._store.delete_file(f"{self._path}/{name}")

    def _file(self, info: fs.FileInfo) -> LeaseFile | None:
        modified = (info.mtime_ns or 0) / 1e9
        if (info.size or 0) > MAX_BYTES:
            return LeaseFile(info.base_name, modified, None)
        try:
            with self._store.open_input_stream(info.path) as stream:
                return LeaseFile(info.base_name, modified, stream.read(MAX_BYTES))
        except FileNotFoundError:
            return None  # its reader has just given it back
        except PermissionError:
            return LeaseFile(info.base_name, modified, None)


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Turns what Arrow and the storage throw into NoLeases."""
    try:
        yield
    except (OSError, ValueError, NotImplementedError, pa.ArrowException) as error:
        raise NoLeases(one_line(error)) from None


def _located(uri: str) -> tuple[fs.FileSystem, str]:
    parts = urlsplit(uri)
    if len(parts.scheme) < 2:  # a path; one letter is a drive
        return fs.LocalFileSystem(), uri.rstrip("/")
    if parts.scheme == "s3":
        endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
        # Lance's client takes AWS_REGION or AWS_DEFAULT_REGION, Arrow's the second alone.
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        store = fs.S3FileSystem(
            endpoint_override=endpoint,
            region=region,
            connect_timeout=10,
            request_timeout=30,
            allow_delayed_open=True,  # one request for a small file, not three
        )
        return store, f"{parts.netloc}{parts.path}".rstrip("/")
    if parts.scheme == "az":  # Lance's word for it, and its variables
        account, key = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME"), os.environ.get("AZURE_STORAGE_ACCOUNT_KEY")
        return fs.AzureFileSystem(account_name=account or "", account_key=key), f"{parts.netloc}{parts.path}".rstrip(
            "/"
        )
    store, path = fs.FileSystem.from_uri(uri)
    return store, path.rstrip("/")


def _write_local(folder: Path, name: str, data: bytes) -> None:
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        shutil.copymode(folder.parent, folder)  # who may write tables may write leases, and remove them
    part = folder / f".{name}.part"
    try:
        part.write_bytes(data)
        part.replace(folder / name)
    finally:
        part.unlink(missing_ok=True)
