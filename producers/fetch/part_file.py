"""A file that is being downloaded: `.part` until it is whole, then renamed, with a marker beside it.

Beside `x.bz2.part` lies `x.bz2.part.version`: which version of the file the part is of. Beside a whole `x.bz2` lies
`x.bz2.ok`, which says that it was checked, and stays behind when the file is deleted after it was read.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from pipeline.errors import CheckFailed, TryAgain
from producers.bytes.kinds import edge_fault
from producers.fetch.remote_file import Version

_MARKER_BYTES = 4096


class Marker(msgspec.Struct, frozen=True, omit_defaults=True):
    """Says of a file that it came whole: its size, its version, and whether it was read and deleted since."""

    size: int
    version: Version
    released: bool = False


class WrongEnd(Exception):
    """The server says that this was all of it, and it is not."""


class PartFile:
    """The part of one file; `have` and `received` may be read by other threads while it grows."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.have = 0
        """Bytes that lie on disk."""
        self.received = 0
        """Bytes that came over the network, with those that had to be thrown away."""
        self.version = Version()
        self._path = target.with_name(target.name + ".part")
        self._version_path = target.with_name(target.name + ".part.version")
        self._file: BinaryIO | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Opens the part, for this process alone, where an earlier one left it. Raises TryAgain: another has it."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        with self._locked() as self._file:
            self.have = self._file.seek(0, os.SEEK_END)
            self.version = _read_version(self._version_path)
            yield
        self._file = None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        with self._path.open("ab+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Between our opening and locking it, another process may have renamed it: then it is the whole file.
                still_there = self._path.exists() and os.path.samestat(os.fstat(file.fileno()), self._path.stat())
            except BlockingIOError:
                still_there = False
            if not still_there:
                raise TryAgain(f"{self._path}: another process is downloading it; wait for it, or stop it")
            yield file

    @property
    def _open_file(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("used outside of `opened`")
        return self._file

    @property
    def whole(self) -> bool:
        return self.version.size is not None and self.have == self.version.size

    def begin(self, version: Version) -> None:
        """Starts over with this version. Emptied first: a part must never lie beside another's version."""
        self._open_file.truncate(0)
        self.have = 0
        self._version_path.write_bytes(msgspec.json.encode(version))
        self.version = version

    def write(self, data: bytes) -> None:
        self._open_file.write(data)
        self.have += len(data)
        self.received += len(data)

    def correct(self, size: int) -> None:
        """The server said another size before than it says now."""
        self.version = msgspec.structs.replace(self.version, size=size)

    def discard(self) -> None:
        self.begin(Version())

    def finish(self) -> None:
        """Makes it the whole file. Raises WrongEnd, and starts over, when its end is not one."""
        file = self._open_file
        file.flush()
        if (wrong := edge_fault(self.target.name, file)) or (self.version.size not in (None, self.have)):
            self.discard()
            raise WrongEnd(wrong or "its size is not what the server said")
        os.fsync(file.fileno())
        self._path.replace(self.target)
        _sync_folder(self.target.parent)
        mark(self.target, Marker(self.have, self.version))
        self._version_path.unlink(missing_ok=True)


def mark(target: Path, marker: Marker) -> None:
    """Writes down that the file is whole."""
    _marker_path(target).write_bytes(msgspec.json.encode(marker))


def read_marker(target: Path) -> Marker | None:
    """The part of the file that is written; None when nothing that can be read is."""
    return _read(_marker_path(target), Marker)


def is_whole(target: Path) -> bool:
    """True when the file is there as it was when it was checked."""
    marker = read_marker(target)
    return marker is not None and target.is_file() and target.stat().st_size == marker.size


def adopt(target: Path, version: Version) -> str:
    """Marks a file that was fetched by other means as whole; or says why it is not the server's."""
    with target.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if version.size is None:
            return "the server does not say how large it should be"
        if size != version.size:
            return f"it has {size:,} bytes, the server's {version.size:,}"
        if wrong := edge_fault(target.name, file):
            return wrong
    mark(target, Marker(size, version))
    return ""


def release(target: Path) -> None:
    """Deletes the file that was read; its marker says so from now on."""
    marker = read_marker(target)
    if marker is None:
        raise CheckFailed(f"{target}: not deleted, because no marker says that it came whole")
    mark(target, msgspec.structs.replace(marker, released=True))
    target.unlink(missing_ok=True)


def part_bytes(target: Path) -> int:
    """Bytes of it that an earlier download left."""
    with contextlib.suppress(FileNotFoundError):
        return target.with_name(target.name + ".part").stat().st_size
    return 0


def _marker_path(target: Path) -> Path:
    return target.with_name(target.name + ".ok")


def _read_version(path: Path) -> Version:
    return _read(path, Version) or Version()


def _sync_folder(folder: Path) -> None:
    """A rename is on the disk when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_S = TypeVar("_S", bound=msgspec.Struct)


def _read(path: Path, kind: type[_S]) -> _S | None:
    """A small file that this module wrote; a kill may have cut it off, which is the same as none."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_MARKER_BYTES), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
