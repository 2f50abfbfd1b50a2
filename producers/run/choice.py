"""The source of what a command names, by the names of the files; by a first line where two sources share a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pipeline.addresses import without_secrets
from pipeline.errors import UsageError
from producers.run.shards import is_address, paths_of
from producers.run.source import MODULES, source_named

DOWNLOADED = "cirrus"
"""The source that is meant where no files are named, and where each folder with files of several has some of it."""


class Choice(NamedTuple):
    """A source, and the first of the files that are left out because another source reads them."""

    name: str
    left_out: str = ""


def choose_source(sources: Sequence[str]) -> Choice:
    """The one source that reads these files, folders, globs or addresses.

    Raises:
        UsageError: no source reads them, or no single one does.
    """
    named = [_readers(source) for source in sources]
    files = {file: name for found in named for file, name in found.items()}
    firsts = {name: file for file, name in reversed(files.items())}
    if len(firsts) <= 1:
        return Choice(next(iter(firsts), DOWNLOADED))
    if all(DOWNLOADED in found.values() for found in named):
        return Choice(DOWNLOADED, next(file for file, name in files.items() if name != DOWNLOADED))
    told = ", ".join(f"{without_secrets(file)} is one for {name}" for name, file in sorted(firsts.items()))
    raise UsageError(f"files of several sources: {told}; name those of one, or choose it with --source")


def _readers(source: str) -> Mapping[str, str]:
    """Files -> the source that reads each. Raises UsageError when there are none."""
    if is_address(source):
        fitting = (name for name in MODULES if source_named(name).names.fits(Path(source)))
        return {source: next(fitting, DOWNLOADED)}
    found: dict[Path, list[str]] = {}
    for name in MODULES:
        with suppress(UsageError):
            for path in paths_of(source, source_named(name).names):
                found.setdefault(path, []).append(name)
    if not found:
        raise UsageError(f"{source}: {_nothing(Path(source).expanduser())}; {_endings()}")
    return {str(path): _recognized(path, names) for path, names in found.items()}


def _recognized(path: Path, names: Sequence[str]) -> str:
    """The first of these sources that finds its own in the file."""
    if len(names) == 1:
        return names[0]
    return next((name for name in names if source_named(name).recognizes(path)), names[0])


def _nothing(path: Path) -> str:
    if path.is_dir():
        return "no file in this folder is one that a source reads"
    if path.is_file():
        return "no source reads a file of this name"
    return "no such file or folder, and no file that a source reads matches it"


def _endings() -> str:
    each = {name: source_named(name).names.suffixes for name in MODULES}
    return "; ".join(f"{name} reads {', '.join(endings)}" for name, endings in each.items())
