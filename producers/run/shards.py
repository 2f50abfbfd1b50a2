"""Files, folders and globs that a user names, to the shards that they mean."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import UsageError

EDGE_BYTES = 64 * 1024
MAX_FOLDERS = 16

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_address(source: str) -> bool:
    """True for an address, such as s3://bucket/folder, rather than a path."""
    return _ADDRESS.match(source) is not None


class Origin(NamedTuple):
    """Wiki and date of the documents in a file, by its name and path; empty where these do not say."""

    wiki: str = ""
    snapshot: str = ""


@dataclass(frozen=True, slots=True)
class FileNames:
    """The names of the files of one kind."""

    kind: str
    """Such as `cirrus`: the first part of the keys of their progress."""
    what: str
    """Such as `dump file`, for messages."""
    suffixes: tuple[str, ...]
    origin: Callable[[Path], Origin] = lambda _: Origin()
    in_folder: Callable[[Path], bool] = lambda _: True
    """True of a file with such a suffix, found in a folder, that is one: any other program's may lie there too."""
    folders: Callable[[Path], int] | None = None
    """How many folders above it belong to a file's name whatever lies beside it, where its place says which document
    it is; None where its contents say that."""

    def fits(self, path: Path) -> bool:
        return path.name.endswith(self.suffixes)

    @property
    def endings(self) -> str:
        return f"the name of a {self.what} ends with {', '.join(self.suffixes)}"


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a source, and which version of it lies there.

    `checksum` is over the first and the last 64 KiB: enough to notice a file that was fetched again or put in another's
    place, without reading 600 MB.
    """

    kind: str
    path: Path
    origin: Origin
    size: int
    checksum: str
    folders: int = 0
    """Folders above the file that are part of its name, where other files of the run have the same one."""
    placed: bool = False
    """Its place says which document it is: the same contents elsewhere are another one."""

    @property
    def name(self) -> str:
        """The file's, such as `train-00000.parquet`, with as many folders before it as tell it from others."""
        return name_with(self.path, self.folders)

    @property
    def key(self) -> str:
        """Key of its progress record."""
        return shard_key(self.kind, self.origin, self.name)

    @property
    def other_keys(self) -> Iterator[str]:
        """Keys that the same file has in runs with other files beside it; what is recorded there may be another's."""
        for folders in range(0 if self.placed else min(MAX_FOLDERS, len(self.path.parts) - 1)):
            if folders != self.folders:
                yield shard_key(self.kind, self.origin, name_with(self.path, folders))


def shard_key(kind: str, origin: Origin, name: str) -> str:
    """Key of the progress of a file of this name, whether it is here or not."""
    return f"{kind}/{origin.wiki or '-'}/{origin.snapshot or '-'}/{name}"


def find_shards(sources: Iterable[str], names: FileNames) -> list[Shard]:
    """The shards that these files, folders and globs mean: each once, in the order given, folders in the order of
    names.

    Files of one name in several folders, as a data set has them for its languages, are several shards, which have the
    folders in their names. Not so files of a dump, whose names say all: two different ones are two tries to fetch it.

    Raises:
        UsageError: a source means nothing, or there are two different files of one name in one snapshot.
    """
    paths = dict.fromkeys(path for source in sources for path in paths_of(source, names))
    if not paths:
        raise UsageError(f"no source: name {names.what}s, folders or globs, such as data/sample")
    versions: dict[tuple[str, int, str], Shard] = {}
    for shard in (open_shard(path, names) for path in paths):
        versions.setdefault((shard.key, shard.size, shard.checksum), shard)
    folders = folders_in_names([shard.path for shard in versions.values()], names)
    return [replace(shard, folders=folders[shard.path]) for shard in versions.values()]


def folders_in_names(paths: Iterable[Path], names: FileNames) -> dict[Path, int]:
    """The number of folders above it that belong to each file's name: as many as tell it from others of the same name.

    Raises:
        UsageError: two of one name are of one snapshot, where a name says all.
    """
    if names.folders is not None:
        return {path: names.folders(path) for path in paths}
    same_name: dict[tuple[Origin, str], list[Path]] = {}
    for path in paths:
        same_name.setdefault((names.origin(path), path.name), []).append(path)
    for (origin, _), twins in same_name.items():
        if len(twins) > 1 and origin.snapshot:
            raise UsageError(
                f"{twins[0]} and {twins[1]} are different files of one name, which their progress is kept under: "
                "name one of them, or rename it"
            )
    return {path: _folders_needed(twins) for twins in same_name.values() for path in twins}


def _folders_needed(paths: Sequence[Path]) -> int:
    depths = range(max(len(path.parts) for path in paths))
    return next(depth for depth in depths if len({name_with(path, depth) for path in paths}) == len(paths))


def name_with(path: Path, folders: int) -> str:
    """A file's name behind those of so many folders that it is in."""
    return "/".join(path.parts[-1 - folders :])


def open_shard(path: Path, names: FileNames) -> Shard:
    """The shard in this file. Raises UsageError when it cannot be read, or has a name that no key can have."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UsageError(f"{os.fsencode(path)!r}: its name, or a folder's, is no UTF-8: rename it") from None
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            digest = hashlib.blake2b(file.read(EDGE_BYTES), digest_size=8)
            file.seek(max(0, size - EDGE_BYTES))
            digest.update(file.read(EDGE_BYTES))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    placed = names.folders is not None
    folders = names.folders(path) if names.folders is not None else 0
    return Shard(names.kind, path, names.origin(path), size, digest.hexdigest(), folders, placed)


def paths_of(source: str, names: FileNames) -> Iterator[Path]:
    """The files of this kind that a file's name, a folder or a glob means. Raises UsageError when there are none."""
    path = Path(source).expanduser()
    if path.is_dir():
        found = _in_folder(path, names)
        wrong = f"no {names.what} in this folder"
    elif path.is_file():
        if not names.fits(path):
            raise UsageError(f"{source}: not a {names.what}; {names.endings}")
        found, wrong = [path], ""
    else:
        matches = sorted(map(Path, glob.glob(str(path), recursive=True)), key=_natural)  # noqa: PTH207 - absolute ones too
        nested = (_in_folder(match, names) if match.is_dir() else [match] for match in matches)
        found = [file for files in nested for file in files if file.is_file() and names.fits(file)]
        wrong = f"no such file or folder, and no {names.what} matches it"
    if not found:
        raise UsageError(f"{source}: {wrong}; {names.endings}")
    yield from (p.resolve() for p in found)


def _in_folder(folder: Path, names: FileNames) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return sorted((path for path in files if names.fits(path) and names.in_folder(path)), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]
