"""What the user names (files, folders, globs) to the shards that it means."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import UsageError

EDGE_BYTES = 64 * 1024


class Origin(NamedTuple):
    """What a file's name and path say about the documents in it; empty what they do not say."""

    wiki: str = ""
    snapshot: str = ""


@dataclass(frozen=True, slots=True)
class FileNames:
    """How the files of one kind are named."""

    kind: str
    """Such as `cirrus`: the first part of the keys of their progress."""
    what: str
    """Such as `dump file`, for messages."""
    suffixes: tuple[str, ...]
    origin: Callable[[Path], Origin] = lambda _: Origin()
    in_folder: Callable[[Path], bool] = lambda _: True
    """Whether a file with such a suffix, found in a folder, is one: any other program's files may lie there too."""

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

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def key(self) -> str:
        """Key of its progress record."""
        return shard_key(self.kind, self.origin, self.name)


def shard_key(kind: str, origin: Origin, name: str) -> str:
    """Key of the progress of a file of this name, whether it is here or not."""
    return f"{kind}/{origin.wiki or '-'}/{origin.snapshot or '-'}/{name}"


def find_shards(sources: Iterable[str], names: FileNames) -> list[Shard]:
    """The shards that these files, folders and globs mean: each once, in the order given, folders in the order of
    names.

    Raises:
        UsageError: a source means nothing, or two different files would share one progress record.
    """
    paths = dict.fromkeys(path for source in sources for path in _paths(source, names))
    if not paths:
        raise UsageError(f"no source: name {names.what}s, folders or globs, such as data/sample")
    shards: dict[str, Shard] = {}
    for path in paths:
        shard = open_shard(path, names)
        twin = shards.setdefault(shard.key, shard)
        if (twin.size, twin.checksum) != (shard.size, shard.checksum):
            raise UsageError(
                f"{twin.path} and {shard.path} are different files of one name, which their progress is kept under: "
                "name one of them, or rename it"
            )
    return list(shards.values())


def open_shard(path: Path, names: FileNames) -> Shard:
    """The shard in this file. Raises UsageError when it cannot be read."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            digest = hashlib.blake2b(file.read(EDGE_BYTES), digest_size=8)
            file.seek(max(0, size - EDGE_BYTES))
            digest.update(file.read(EDGE_BYTES))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    return Shard(names.kind, path, names.origin(path), size, digest.hexdigest())


def _paths(source: str, names: FileNames) -> Iterator[Path]:
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
