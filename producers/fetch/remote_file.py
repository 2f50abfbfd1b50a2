"""A file on a server, and what a server of files must be able to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from producers.fetch.clock import StopClock
    from producers.fetch.part_file import PartFile

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+@-]{0,199}")
"""A name that is a file's or folder's own everywhere: never hidden, never `..`, never a path."""


def is_safe_name(name: str) -> bool:
    """True when a name that somebody else chose may become that of a file or folder here."""
    return _SAFE.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file to fetch. `place` is its path below the downloads' folder, checked part by part."""

    address: str
    place: str
    size: int | None = None
    """As a listing says: good for planning, no proof of anything."""

    def __post_init__(self) -> None:
        if not all(is_safe_name(part) for part in self.place.split("/")):
            raise ValueError(f"not a path below a folder: {self.place!r}")

    @property
    def name(self) -> str:
        return self.place.rsplit("/", 1)[-1]


class Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """The version of a file that a server has: parts of a file that was replaced between two requests do not fit."""

    size: int | None = None
    etag: str = ""
    modified: str = ""

    @property
    def validator(self) -> str:
        """For `If-Range`, which takes no weak ETag (RFC 9110, 13.1.5); empty: a part of it cannot be resumed."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def differs(self, other: Version) -> bool:
        """True when the two are known to be different; what only one of them says tells nothing."""
        pairs = ((self.size, other.size), (self.etag, other.etag), (self.modified, other.modified))
        return any(mine != theirs for mine, theirs in pairs if mine not in (None, "") and theirs not in (None, ""))


class Unavailable(Exception):
    """The server did not give it this time; another try may."""

    def __init__(self, why: str, rest: float = 0.0) -> None:
        super().__init__(why)
        self.rest = rest
        """Seconds that the server wants to be left alone for."""


class Refused(UsageError):
    """The server will not give it, however often it is asked."""


class NotThere(Refused):
    """The server has no such file or folder."""


class FileServer(Protocol):
    """A place that files come from: a web server, an object store."""

    clock: StopClock

    def look(self, file: RemoteFile) -> Version:
        """The version that the server has now. Raises Unavailable, Refused or Stopped."""
        ...

    def fetch(self, file: RemoteFile, part: PartFile) -> None:
        """One try to complete `part`, from where it stands. Raises Unavailable, Refused or Stopped."""
        ...

    def stop(self) -> None:
        """Ends at once, with Stopped, what is under way and all that is asked afterwards."""
        ...
