"""A source of files: its name, the names of its files, its settings, the reader of one file, the gate for its pages."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from pydantic import Field

from pipeline.cli import ARGUMENT, FLAG
from pipeline.errors import UsageError
from pipeline.records import Page
from pipeline.settings import ServiceSettings
from producers.reader import DocumentReader, Entry
from producers.run.processes import ShardJob
from producers.run.progress import Shape
from producers.run.shards import FileNames, Origin, Shard


class FileSettings(ServiceSettings):
    """Files to read, how much of them, and how often to write down how far that came."""

    DECIDING: ClassVar[frozenset[str]] = frozenset({"sample", "min_length"})
    """Fields that decide which entries become pages, and what they say: with others, a file is read from its start."""

    sources: list[str] = Field([], description="Files, folders of them, or globs.", json_schema_extra={ARGUMENT: True})
    limit: int | None = Field(None, ge=0, description="Send at most so many pages, counted over all runs.")
    sample: float = Field(
        1.0, gt=0, le=1, description="Share of the pages to send, such as 0.01; the same ones every time."
    )
    min_length: int = Field(0, ge=0, description="Leave out pages with fewer characters of text.")
    processes: int = Field(0, ge=0, le=1024, description="Files read at once; 0: one a core.")
    again: bool = Field(False, description="Send everything again, whatever was sent before.")
    json_output: bool = Field(
        False, description="Print one JSON document at the end, nothing else.", json_schema_extra={FLAG: "--json"}
    )
    refresh_metadata: bool = Field(
        False, description="Send pages again of which only links, popularity or categories have changed, too."
    )
    shard_index: int | None = Field(
        None, ge=0, description="This producer's number among --shard-count, from 0; unset: JOB_COMPLETION_INDEX, or 0."
    )
    shard_count: int = Field(1, ge=1, le=100_000, description="Producers that share the files.")
    progress_pages: int = Field(100, ge=1, description="Write progress after so many pages,")
    progress_seconds: float = Field(2.0, gt=0, description="or so many seconds, whichever comes first.")

    @property
    def own_index(self) -> int:
        """`shard_index`, or what Kubernetes gives the pods of an Indexed Job."""
        given = os.environ.get("JOB_COMPLETION_INDEX", "0")
        if self.shard_index is None and not given.isdecimal():
            raise UsageError(f"JOB_COMPLETION_INDEX is {given!r}, not a number from 0")
        return int(given) if self.shard_index is None else self.shard_index

    @property
    def options(self) -> str:
        """The deciding fields as JSON, but for those at their defaults: one that is new tomorrow changes nothing."""
        fields = type(self).model_fields
        chosen = {name: self.deciding(name) for name in sorted(self.DECIDING)}
        return json.dumps({name: value for name, value in chosen.items() if value != fields[name].default})

    @property
    def downloads(self) -> bool:
        """True when what is to be read is named otherwise than by `sources`, and has to be downloaded."""
        return False

    def origin(self, named: Origin) -> Origin:
        """Wiki and snapshot of a file's documents, whose name says `named`. They are part of the key of its progress:
        a file may be read into several corpora."""
        return named

    @property
    def folders(self) -> Callable[[Path], int] | None:
        """Folders above a file that belong to its name, where its place says which document it is; see `FileNames`."""
        return None

    def deciding(self, name: str) -> object:
        """The value of a deciding field, as JSON can say it."""
        return getattr(self, name)


TOO_LARGE = "too_large"

_HASHES = 1 << 64


class Gate:
    """Decides on each entry of one file. A source with more to decide has a gate of its own."""

    whole: ClassVar[bool] = False
    """True: it must see all entries of a file, those of earlier runs too, of which none is sent again."""

    def __init__(self, settings: FileSettings, job: ShardJob) -> None:
        self._sample = settings.sample
        self._min_length = settings.min_length

    def refuses(self, page: Page) -> str:
        """The reason that the page is not sent for; empty when it is."""
        if len(page.text) < self._min_length:
            return "short"
        if self._sample < 1.0 and share_of(page.key) >= self._sample:
            return "not_sampled"
        return ""

    def was_sent(self, page: Page) -> bool:
        """True for a page that an earlier run has sent after it last wrote down its progress, as far as is known."""
        return False

    def unreadable(self, entry: Entry) -> None:
        """Notes an entry that could not be read."""

    def too_large(self, page: Page) -> None:
        """Notes that Kafka did not take the page."""

    @property
    def shape(self) -> Shape | None:
        """Figures of the whole file, for its last progress record."""
        return None

    def records(self, job: ShardJob) -> Iterable[tuple[bytes, bytes]]:
        """Keys and values for `progress`, to be written before the record that says that the file is finished."""
        return ()


def share_of(key: str) -> float:
    """A number from 0 to 1 that depends on the key alone: a smaller sample is part of a larger one."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) / _HASHES


S = TypeVar("S", bound=FileSettings)

MODULES = {
    "cirrus": "producers.cirrus",
    "jsonl": "producers.jsonl",
    "markdown": "producers.markdown",
    "parquet": "producers.parquet",
    "wikitext": "producers.wikitext",
}
"""Name of a source -> the module of its command, which has the source as `SOURCE`."""


def _nothing_to_check(_: Shard, __: FileSettings) -> None:
    """Most files can only be judged while they are read."""


def _by_its_name(_: Path) -> bool:
    """Most names say what is in a file."""
    return True


@dataclass(frozen=True, slots=True)
class Source(Generic[S]):
    """A source of documents in files."""

    name: str
    names: FileNames
    settings: type[S]
    reader: Callable[[Shard, S], DocumentReader]
    """A file and the settings to its reader; in the process that reads it."""
    check: Callable[[Shard, S], None] = _nothing_to_check
    """Looks at a file before anything of it is sent, and may raise: settings may not fit it."""
    gate: Callable[[S, ShardJob], Gate] = Gate
    """The gate for one file; see there for a class with `whole`."""
    recognizes: Callable[[Path], bool] = _by_its_name
    """Looks into a file whose name is one of another source's, too; False leaves it to that one."""

    def names_for(self, settings: S) -> FileNames:
        """The names of its files, with what these settings say of the documents in them."""
        origin = self.names.origin
        return replace(self.names, origin=lambda path: settings.origin(origin(path)), folders=settings.folders)


def source_named(name: str) -> Source[FileSettings]:
    """The source of this name, whose libraries are loaded only now."""
    source: Source[FileSettings] = import_module(MODULES[name]).SOURCE
    return source
