"""A source of files: its name, the names of its files, its settings, and the reader of one file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Generic, TypeVar

from producers.reader import DocumentReader
from producers.run.gate import Gate
from producers.run.job import ShardJob
from producers.run.settings import FileSettings
from producers.run.shards import FileNames, Shard

S = TypeVar("S", bound=FileSettings)

MODULES = {
    "cirrus": "producers.cirrus",
    "jsonl": "producers.jsonl",
    "parquet": "producers.parquet",
    "wikitext": "producers.wikitext",
}
"""Name of a source -> the module of its command, which has the source as `SOURCE`."""


def _nothing_to_check(_: Shard, __: FileSettings) -> None:
    """Most files can only be judged while they are read."""


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


def source_named(name: str) -> Source[FileSettings]:
    """The source of this name, whose libraries are loaded only now."""
    source: Source[FileSettings] = import_module(MODULES[name]).SOURCE
    return source
