"""What the user names (files, folders, globs) to the shards that it means."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from producers.cirrus_documents import Origin
from producers.dump_blocks import SUFFIXES

EDGE_BYTES = 64 * 1024

_SUFFIX = re.compile(r"\.(?:json|ndjson)(?:\.bz2|\.gz)?$")
_NAMES = (
    re.compile(r"(?P<wiki>[a-z0-9_-]+)_(?:content|general|file)-(?P<snapshot>\d{8})(?:-\d+)?\."),
    re.compile(r"(?P<wiki>[a-z0-9_-]+)-(?P<snapshot>\d{8})-cirrussearch-(?:content|general|file)\."),
)
_FOLDER_WIKI = re.compile(r"index_name=([a-z0-9_-]+)_(?:content|general|file)$")
_FOLDER_SNAPSHOT = re.compile(r"\d{8}$")


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a dump, and which version of it lies there.

    `checksum` is over the first and the last 64 KiB: enough to notice a file that was fetched again or put in another's
    place, without reading 600 MB.
    """

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
        return f"cirrus/{self.origin.wiki or '-'}/{self.origin.snapshot or '-'}/{self.name}"


def find_shards(sources: Iterable[str]) -> list[Shard]:
    """The shards that these files, folders and globs mean: each once, in the order given, folders in the order of
    names.

    Raises:
        UsageError: a source means nothing, or two different files would share one progress record.
    """
    paths = dict.fromkeys(path for source in sources for path in _paths(source))
    if not paths:
        raise UsageError("no source: name dump files, folders or globs, such as data/sample")
    shards: dict[str, Shard] = {}
    for path in paths:
        shard = open_shard(path)
        twin = shards.setdefault(shard.key, shard)
        if (twin.size, twin.checksum) != (shard.size, shard.checksum):
            raise UsageError(
                f"{twin.path} and {shard.path} are different files of one name, which their progress is kept under: "
                "name one of them, or rename it"
            )
    return list(shards.values())


def open_shard(path: Path) -> Shard:
    """The shard in this file. Raises UsageError when it cannot be read."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            digest = hashlib.blake2b(file.read(EDGE_BYTES), digest_size=8)
            file.seek(max(0, size - EDGE_BYTES))
            digest.update(file.read(EDGE_BYTES))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    return Shard(path, origin_of(path), size, digest.hexdigest())


def origin_of(path: Path) -> Origin:
    """Wiki and snapshot by the file's name in either layout, else by the folders it lies in, else unknown."""
    for pattern in _NAMES:
        if found := pattern.match(path.name):
            return Origin(found["wiki"], found["snapshot"])
    folders = list(reversed(path.parent.parts))
    wikis = (found[1] for folder in folders if (found := _FOLDER_WIKI.match(folder)))
    dates = (folder for folder in folders if _FOLDER_SNAPSHOT.match(folder))
    return Origin(next(wikis, ""), next(dates, ""))


def _paths(source: str) -> Iterator[Path]:
    if re.match(r"[a-z0-9]+://", source):
        raise UsageError(f"{source}: only files of this machine can be read; fetch it first")
    path = Path(source).expanduser()
    if path.is_dir():
        found = _in_folder(path)
        what = "no dump file in this folder"
    elif path.is_file():
        if not _SUFFIX.search(path.name):
            raise UsageError(f"{source}: not a dump file; the name of one ends with {', '.join(SUFFIXES)}")
        found, what = [path], ""
    else:
        matches = sorted(map(Path, glob.glob(str(path), recursive=True)), key=_natural)  # noqa: PTH207 - absolute ones too
        found = [file for match in matches for file in (_in_folder(match) if match.is_dir() else _if_dump(match))]
        what = "no such file or folder, and no dump file matches it"
    if not found:
        raise UsageError(f"{source}: {what}; the name of a dump file ends with {', '.join(SUFFIXES)}")
    yield from (p.resolve() for p in found)


def _in_folder(folder: Path) -> list[Path]:
    return sorted((path for path in folder.rglob("*") if path.is_file() and _is_dump(path)), key=_natural)


def _if_dump(path: Path) -> list[Path]:
    return [path] if path.is_file() and _SUFFIX.search(path.name) else []


def _is_dump(path: Path) -> bool:
    """Whether a file found in a folder is a dump: there, any other program's `.json` may lie too."""
    if path.name.startswith(".") or not _SUFFIX.search(path.name):
        return False
    return not path.name.endswith(".json") or any(pattern.match(path.name) for pattern in _NAMES)


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]
