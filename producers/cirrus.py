"""`python -m producers.cirrus SOURCE…`: CirrusSearch dumps into `pages`, with an account of every line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
from pydantic import AfterValidator, Field

from pipeline.cli import command, new_app, run
from pipeline.records import Page
from pipeline.rejected import Rejected
from producers.bytes.blocks import PACKINGS, Damaged, PackedFile, read_ahead
from producers.bytes.bulk import BulkEntry, read_entries
from producers.bytes.lines import MAX_LINE_BYTES, Position, read_lines
from producers.fetch.settings import DownloadSettings
from producers.reader import Entry, Tick, blank_lines, ticking
from producers.run.shards import FileNames, Origin, Shard
from producers.run.source import Source
from producers.snapshots.finish import finish
from producers.snapshots.listed import ListedGate, ListedRun
from producers.snapshots.settings import FinishSettings, SnapshotSettings
from producers.snapshots.snapshot_run import SnapshotRun
from producers.wikimedia.documents import DocumentReader
from producers.wikimedia.fields import own_id
from producers.wikimedia.settings import DocumentRules, DocumentSettings
from producers.wikimedia.titles import read_titles

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


_SUFFIXES = tuple(plain + packed for plain in (".json", ".ndjson") for packed in PACKINGS)

CIRRUS_NAMES = FileNames("cirrus", "dump file", _SUFFIXES, origin_of, _in_folder)


def _categories(value: str) -> str:
    return "|".join(sorted({name.strip() for name in value.split("|") if name.strip()}))


def read_pages_file(path: Path) -> frozenset[str]:
    """The ids and titles in a file, one a line; titles as the wiki shows them, or with `_` for a space, in any Unicode
    form. Raises UsageError when it cannot be read."""
    return frozenset(title.replace("_", " ") for title in read_titles(path) if title)


class CirrusSettings(SnapshotSettings, DownloadSettings, DocumentSettings):
    """The documents of a CirrusSearch dump that become pages."""

    DECIDING: ClassVar[frozenset[str]] = SnapshotSettings.DECIDING | {
        "namespaces",
        "redirects",
        "disambiguation",
        "references",
        "categories",
        "min_popularity",
        "pages_file",
    }

    categories: Annotated[str, AfterValidator(_categories)] = Field(
        "", description="Keep pages in any of these categories, such as 'Living people|Mammals of Europe'."
    )
    min_popularity: float = Field(0.0, ge=0, le=1, description="Keep pages with at least this popularity_score.")
    pages_file: Path | None = Field(None, description="Keep the pages of this file: ids or titles, one a line.")
    max_line_bytes: int = Field(MAX_LINE_BYTES, ge=1024, description="Longer lines of a dump are skipped, and counted.")

    @property
    def downloads(self) -> bool:
        return bool(self.wiki)

    @property
    def rules(self) -> DocumentRules:
        """These settings as the reader of documents takes them. Raises UsageError for a bad `pages_file`."""
        return replace(
            super().rules,
            categories=frozenset(name.casefold() for name in self.categories.split("|") if name),
            min_popularity=self.min_popularity,
            pages=None if self.pages_file is None else read_pages_file(self.pages_file),
        )

    def deciding(self, name: str) -> object:
        """A pages file decides by its contents."""
        if name == "pages_file" and self.pages_file is not None:
            listed = "\n".join(sorted(read_pages_file(self.pages_file)))
            return hashlib.blake2b(listed.encode(), digest_size=8).hexdigest()
        return super().deciding(name)


class CirrusCommandSettings(CirrusSettings, FinishSettings):
    """Flags of `python -m producers.cirrus`: besides reading, it can end a snapshot."""


class CirrusReader:
    """One shard of a dump, in either layout: file → lines → entries → pages."""

    def __init__(self, shard: Shard, settings: CirrusSettings) -> None:
        self._dump = PackedFile(shard.path)
        self._max_line_bytes = settings.max_line_bytes
        self._documents = DocumentReader(shard.origin.wiki, shard.origin.snapshot, settings.rules)

    @property
    def bytes_read(self) -> int:
        return self._dump.bytes_read

    def read(self, start: Position, tick: Tick) -> Iterator[Entry]:
        """The entries from `start` on; see `producers.reader.DocumentReader`."""
        blocks = ticking(read_ahead(self._dump.blocks()), tick)
        for entry in read_entries(read_lines(blocks, start, self._max_line_bytes)):
            yield self.entry(entry)

    def entry(self, found: BulkEntry) -> Entry:
        """The page in an entry of the file, or why there is none."""
        if found.lines == 0:
            return blank_lines(found.after, found.blank)
        notes: list[str] = []
        if found.malformed or found.document is None:
            page: Page | Rejected = Rejected(found.malformed, damaged=True)
        else:
            named, lost = ("", True) if found.action is None else (found.action.page_id, False)
            page = self._documents.read(named, found.document, notes, lost_action=lost)
        entry = Entry(found.after, page, tuple(notes), lines=found.lines, blank=found.blank)
        return entry._replace(may_be=_named(found)) if entry.unreadable else entry


def _named(entry: BulkEntry) -> tuple[str, ...]:
    """The ids in what is left of an entry: its action's, its document's; both when they differ."""
    by_action = entry.action.page_id if entry.action is not None else ""
    by_document = own_id(entry.document) if entry.document is not None else ""
    return tuple(dict.fromkeys(page_id for page_id in (by_action, by_document) if page_id))


def is_dump(path: Path) -> bool:
    """False for a file of other JSON lines: it begins with an object that is neither an action nor a wiki's page.
    Names that only dumps have are enough."""
    if any(pattern.match(path.name) for pattern in _NAMES):
        return True
    try:
        first = next(read_entries(read_lines(PackedFile(path).blocks())), None)
        if first is None or first.action is not None or first.document is None:
            return True
        found = msgspec.json.decode(first.document)
    except (Damaged, OSError, ValueError, RecursionError):
        return True  # said when it is read
    return not isinstance(found, dict) or "page_id" in found or "namespace" in found


SOURCE = Source("cirrus", CIRRUS_NAMES, CirrusSettings, CirrusReader, gate=ListedGate, recognizes=is_dump)

app = new_app("Reads CirrusSearch dumps into Kafka.")


@command(app, CirrusCommandSettings)
def cirrus(settings: CirrusCommandSettings) -> int:
    """Sends the pages of CirrusSearch dumps (.json.bz2, .json.gz, .json) to `pages`, and goes on where it was left.

    With --finish it sends nothing but the deletions of a snapshot that has been read.
    """
    if settings.finish:
        return finish(settings)
    if settings.pages_file is not None:
        return ListedRun(SOURCE, settings, read_pages_file(settings.pages_file)).run()
    return SnapshotRun(SOURCE, settings).run()


if __name__ == "__main__":
    run(app, "producers.cirrus")
