"""What every producer of files is made of: a kind of file, and a reader that makes pages of one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar

from pipeline.records import Page
from producers.bytes.lines import Position
from producers.files.file_settings import FileSettings
from producers.files.progress import Progress
from producers.files.sources import FileNames, Shard
from producers.ledger import Ledger

S = TypeVar("S", bound=FileSettings)

MODULES = {
    "cirrus": "producers.cirrus",
    "jsonl": "producers.jsonl",
    "parquet": "producers.parquet",
    "wikitext": "producers.wikitext",
}
"""Kind of file -> the command that reads it, which has the kind as `KIND`."""


class Passed(NamedTuple):
    """One entry of a file passed: its page, or none when it is dropped or malformed, as the ledger says."""

    page: Page | None
    after: Position
    """Where reading goes on behind it."""
    unreadable: tuple[str, ...] | None = None
    """Of an entry that could not be read: the ids of pages that it may be, none when it names none. Of any other entry,
    whether it became a page or not: None."""


class PageReader(Protocol):
    """Reads one file into pages, from a position on, and accounts for everything that it passes."""

    @property
    def ledger(self) -> Ledger:
        """The account over all runs; balanced whenever an entry was given out."""
        ...

    @property
    def bytes_read(self) -> int:
        """Of the file as it lies on disk, for whoever waits."""
        ...

    def read(self, tick: Callable[[], None]) -> Iterator[Passed]:
        """The entries from the start position to the file's end; calls `tick`, which may raise, at least every second.

        Raises:
            Damaged: the file cannot be read to its end; all before the damage has been given out.
        """
        ...


def _nothing_to_check(_: Shard, __: FileSettings) -> None:
    """Most files can only be judged while they are read."""


@dataclass(frozen=True, slots=True)
class FileKind(Generic[S]):
    """A kind of file: what it is called, what its settings are, and how one is read."""

    name: str
    names: FileNames
    settings: type[S]
    open_reader: Callable[[Path, Progress, S], PageReader]
    """The file, the progress to go on from, and the settings to a reader of it."""
    check: Callable[[Shard, S], None] = _nothing_to_check
    """Looks at a file before anything of it is sent, and may raise: what a user chose may not fit it."""
    manifests: bool = False
    """Whether its files are snapshots, whose pages are compared with those of the snapshot before."""


def kind_named(name: str) -> FileKind[FileSettings]:
    """The kind of this name, whose libraries are loaded only now."""
    kind: FileKind[FileSettings] = import_module(MODULES[name]).KIND
    return kind
