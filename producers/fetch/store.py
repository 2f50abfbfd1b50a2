"""Folders in object stores (`s3://`, `gs://`, whatever fsspec opens) as sources of dump files.

So one machine downloads from the dump server, and many read from a bucket beside them.
"""

from __future__ import annotations

import contextlib
import ftplib
import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from pipeline.addresses import has_user, without_secrets
from pipeline.errors import TryAgain, UsageError, one_line
from producers.fetch.clock import StopClock
from producers.fetch.part_file import PartFile
from producers.fetch.remote_file import NotThere, Refused, RemoteFile, Unavailable, Version, is_safe_name

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

READ_BYTES = 1024 * 1024
MAX_FILES = 100_000
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://")
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
_KEYS = {
    **dict.fromkeys(("s3", "s3a"), "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"),
    **dict.fromkeys(("gs", "gcs"), "set GOOGLE_APPLICATION_CREDENTIALS"),
}
_OF_HOSTS = ("ftp", "sftp", "ssh", "smb")
_AWAY = (OSError, EOFError, ftplib.error_temp)
_NOT_AWAY = (PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError)
_VERSION_KEYS = ("ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified", "mtime", "created")
"""The stores' names for that which changes with a file's content, the surest first."""


class Names(Protocol):
    """The rule by which names tell the files that a source takes from others."""

    @property
    def what(self) -> str:
        """Such as `dump file`, for messages."""
        ...

    @property
    def endings(self) -> str:
        """A sentence that says how their names end."""
        ...

    @property
    def in_folder(self) -> Callable[[Path], bool]:
        """True when a file with such a name, found in a folder, is one."""
        ...

    def fits(self, path: Path) -> bool: ...


def find_remote(source: str, names: Names) -> tuple[StoreFiles, tuple[RemoteFile, ...]]:
    """The files of this kind that an address means: a file, a folder with all below it, or a glob.

    Raises:
        UsageError: the address means nothing, a package is missing, or access is denied.
        TryAgain: the store does not answer.
    """
    store, path = _opened(source)
    try:
        paths = _paths(store, path, names)
    except FileNotFoundError:
        raise UsageError(f"{source}: no such file or folder") from None
    except PermissionError as error:
        raise UsageError(f"{source}: access denied ({without_secrets(one_line(error), of=source)})") from error
    except UsageError:
        raise
    except Exception as error:  # each store has exceptions of its own: credentials, regions, networks
        raise TryAgain(f"{source}: cannot be listed: {without_secrets(one_line(error), of=source)}") from error
    if not paths:
        raise UsageError(f"{source}: no {names.what} there; {names.endings}")
    scheme = source.split("://", 1)[0]
    files = tuple(RemoteFile(found, _place(scheme, found), size) for found, size in sorted(paths.items(), key=_natural))
    return StoreFiles(lambda: _opened(source)[0], scheme, source), files


class StoreFiles:
    """The files of one store, by their paths in it: a `FileServer`.

    Each thread has a store of its own, and another one after a failure: that of `ftp://` is a single connection, which
    two threads cannot share, and which stays broken once it has been.
    """

    def __init__(self, open_store: Callable[[], AbstractFileSystem], scheme: str, source: str = "") -> None:
        self.clock = StopClock()
        self._open_store = open_store
        self._own = threading.local()
        self._source = source
        self._scheme = scheme

    def look(self, file: RemoteFile) -> Version:
        self.clock.check()
        with self._translated(file):
            store = self._store
            store.invalidate_cache(file.address)
            info: Mapping[str, Any] = store.info(file.address)
        tag = next((str(info[key]) for key in _VERSION_KEYS if info.get(key)), "")
        return Version(_size(info), etag=tag.removeprefix("W/"))

    def fetch(self, file: RemoteFile, part: PartFile) -> None:
        version = self.look(file)
        if not part.have or not part.version.validator or part.version.differs(version):
            part.begin(version)
        with self._translated(file):
            stream: BinaryIO = self._store.open(file.address, "rb")
        with contextlib.closing(stream):
            self._copy(stream, file, part)
        if self.look(file).differs(version):
            part.discard()
            raise Unavailable(f"{self._name(file)}: replaced while it was read; starting over")

    def stop(self) -> None:
        self.clock.stop()

    def _copy(self, stream: BinaryIO, file: RemoteFile, part: PartFile) -> None:
        with self._translated(file):
            stream.seek(part.have)
        while True:
            self.clock.check()
            with self._translated(file):  # only the reading: an error of the local disk is another matter
                data = stream.read(READ_BYTES)
            if not data:
                break
            part.write(data)
        if part.version.size is not None and not part.whole:
            raise Unavailable(f"{self._name(file)}: {part.have:,} bytes came of {part.version.size:,}")

    @property
    def _store(self) -> AbstractFileSystem:
        if not hasattr(self._own, "store"):
            self._own.store = self._open_store()
        return self._own.store

    @contextlib.contextmanager
    def _translated(self, file: RemoteFile) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise NotThere(f"{self._name(file)}: it is not there any more") from error
        except PermissionError as error:
            raise Refused(f"{self._name(file)}: access denied ({self._said(error)})") from error
        except UsageError as error:
            raise Refused(str(error)) from error
        except Exception as error:  # each store has exceptions of its own
            self._own.__dict__.clear()
            raise Unavailable(f"{self._name(file)}: {self._said(error)}") from error

    def _said(self, error: Exception) -> str:
        return without_secrets(one_line(error), of=self._source)

    def _name(self, file: RemoteFile) -> str:
        return f"{self._scheme}://{file.address.lstrip('/')}"


def _opened(source: str) -> tuple[AbstractFileSystem, str]:
    """The store that an address is in, not shared with anybody, and the path in it. Raises UsageError, TryAgain."""
    found = _ADDRESS.match(source)
    if found is None or "::" in source:
        raise UsageError(f"{source}: not an address such as s3://bucket/folder")
    if found[1] in ("http", "https"):
        raise UsageError(f"{source}: dumps on a web server are named by --mirror (the folder of dates) and --wiki")
    if found[1] in _KEYS and has_user(source):
        raise UsageError(f"{source}: keys do not belong into the address of a bucket: {_KEYS[found[1]]}")
    if found[1] in _OF_HOSTS and not urlsplit(source).hostname:
        raise UsageError(f"{source}: no host in it, as in {found[1]}://host/folder")
    import fsspec

    try:
        return fsspec.core.url_to_fs(source, skip_instance_cache=True)  # type: ignore[no-any-return]
    except ImportError as error:
        package = _PACKAGES.get(found[1])
        what = f"pip install {package}" if package else without_secrets(str(error), of=source)
        raise UsageError(f"{source}: a package is missing that opens {found[1]}:// addresses: {what}") from None
    except Exception as error:  # some connect here, with exceptions of their own
        said = without_secrets(one_line(error), of=source)
        if isinstance(error, _AWAY) and not isinstance(error, _NOT_AWAY):
            raise TryAgain(f"{source}: cannot be reached: {said}") from error
        raise UsageError(f"{source}: cannot be opened: {said}") from error


def _paths(store: AbstractFileSystem, path: str, names: Names) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for name, info in _entries(store, path):
        local = PurePosixPath(name)
        ours = names.fits(Path(local)) and (name == path or names.in_folder(Path(local)))
        if info.get("type") == "file" and ours and is_safe_name(local.name):
            found[name] = _size(info)
        if len(found) > MAX_FILES:
            raise UsageError(f"{path}: more than {MAX_FILES:,} files; name a folder in it")
    return found


def _entries(store: AbstractFileSystem, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The files that a path means: itself, all below it, or what matches it. Walked, not listed: buckets are large."""
    if re.search(r"[*?\[]", path):
        yield from store.glob(path, detail=True).items()
    elif store.isfile(path):
        yield path, store.info(path)
    else:
        for _, _, files in store.walk(path, detail=True, on_error="raise"):
            yield from ((str(info["name"]), info) for info in files.values())


def _size(info: Mapping[str, Any]) -> int | None:
    size = info.get("size")
    return int(size) if size is not None else None


def _place(scheme: str, path: str) -> str:
    """The place at which it will lie here: below folders of the same names, for they tell the wiki and the date."""
    *folders, name = path.strip("/").split("/")
    folders[:1] = [folder.rpartition("@")[2] for folder in folders[:1]]  # a host's user and password are no folder
    return "/".join([_safe(scheme), *map(_safe, folders), name])


def _safe(folder: str) -> str:
    return folder if is_safe_name(folder) else "x-" + hashlib.blake2b(folder.encode(), digest_size=6).hexdigest()


def _natural(entry: tuple[str, int | None]) -> list[tuple[int, str]]:
    """Numbers in names in the order of their values."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", entry[0])]
