"""How the files of CirrusSearch dumps are named, and what a name says of the documents in it."""

from __future__ import annotations

import re
from pathlib import Path

from producers.bytes.blocks import SUFFIXES
from producers.files.sources import FileNames, Origin

_NAMES = (
    re.compile(r"(?P<wiki>[a-z0-9_-]+)_(?:content|general|file)-(?P<snapshot>\d{8})(?:-\d+)?\."),
    re.compile(r"(?P<wiki>[a-z0-9_-]+)-(?P<snapshot>\d{8})-cirrussearch-(?:content|general|file)\."),
)
_FOLDER_WIKI = re.compile(r"index_name=([a-z0-9_-]+)_(?:content|general|file)$")
_FOLDER_SNAPSHOT = re.compile(r"\d{8}$")


def origin_of(path: Path) -> Origin:
    """Wiki and snapshot by the file's name in either layout, else by the folders it lies in, else unknown."""
    for pattern in _NAMES:
        if found := pattern.match(path.name):
            return Origin(found["wiki"], found["snapshot"])
    folders = list(reversed(path.parent.parts))
    wikis = (found[1] for folder in folders if (found := _FOLDER_WIKI.match(folder)))
    dates = (folder for folder in folders if _FOLDER_SNAPSHOT.match(folder))
    return Origin(next(wikis, ""), next(dates, ""))


def _in_folder(path: Path) -> bool:
    """Any other program's `.json` may lie there too."""
    return not path.name.endswith(".json") or any(pattern.match(path.name) for pattern in _NAMES)


CIRRUS_NAMES = FileNames("cirrus", "dump file", SUFFIXES, origin_of, _in_folder)
