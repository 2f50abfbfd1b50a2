"""`python -m producers.wikitext FILE…`: MediaWiki's XML exports into `pages`, with an account of every page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, NamedTuple

from pydantic import Field

from pipeline.cli import command, new_app, run
from pipeline.cores import usable_cores
from pipeline.errors import UsageError
from pipeline.records import valid_wiki
from pipeline.rejected import Rejected
from pipeline.wiki_name import WikiNameOrNone
from producers.bytes.blocks import Damaged, PackedFile, WrongKind
from producers.bytes.lines import Position
from producers.bytes.xml import EndMissing, read_pages
from producers.reader import Entry, Tick, ticking
from producers.run.runner import run_source
from producers.run.shards import FileNames, Origin, Shard
from producers.run.source import FileSettings, Source
from producers.wikimedia.export_xml import ExportedPage, NotAnExport, Site, read_site
from producers.wikimedia.exported_pages import ExportedPages
from producers.wikimedia.parser import MarkupParser
from producers.wikimedia.settings import Namespaces, numbers_of

_EXPORT = re.compile(r"\.xml(?:-[\w-]+)?(?:\.bz2|\.gz)?\Z")
_DUMP = re.compile(r"(?P<wiki>[a-z0-9_]+)-(?P<snapshot>\d{8}|latest)-(?:articles|pages-(?:articles|meta-current))")


def origin_of(path: Path) -> Origin:
    """Wiki and snapshot by the names that Wikimedia's dumps have."""
    found = _DUMP.match(path.name)
    if found is None:
        return Origin()
    return Origin(found["wiki"], found["snapshot"] if found["snapshot"].isdecimal() else "")


@dataclass(frozen=True, slots=True)
class _ExportNames(FileNames):
    """`enwiki-20261101-pages-articles1.xml-p1p41242.bz2`: a part has its page ids behind `.xml`."""

    def fits(self, path: Path) -> bool:
        return _EXPORT.search(path.name) is not None


WIKITEXT_NAMES = _ExportNames(
    "wikitext",
    "MediaWiki export",
    (".xml", ".xml.bz2", ".xml.gz"),
    origin_of,
    lambda path: _DUMP.match(path.name) is not None,
)


class WikitextSettings(FileSettings):
    """The pages of a MediaWiki export that become pages."""

    DECIDING: ClassVar[frozenset[str]] = FileSettings.DECIDING | {"namespaces", "wiki"}

    namespaces: Namespaces = Field("0", description="Namespaces to keep, such as 0,14.")
    wiki: WikiNameOrNone = Field("", description="A wiki's name, such as simplewiki; empty: as the export says.")

    def origin(self, named: Origin) -> Origin:
        return Origin(self.wiki or named.wiki, named.snapshot)


class _Found(NamedTuple):
    """A page of the file on its way through the parser."""

    after: Position
    page: ExportedPage | Rejected
    notes: list[str]


class WikitextReader:
    """One file of an export: file → pages of XML → wikitext → pages.

    Its redirects are left out: which page one leads to may be known long after that page was sent.
    """

    def __init__(self, shard: Shard, settings: WikitextSettings) -> None:
        self._shard = shard
        self._dump = PackedFile(shard.path)
        self._settings = settings
        self._damage: Damaged | None = None

    @property
    def bytes_read(self) -> int:
        return self._dump.bytes_read

    def read(self, start: Position, tick: Tick) -> Iterator[Entry]:
        """The entries from `start` on; see `producers.reader.DocumentReader`."""
        origin = self._shard.origin
        site = site_of(self._shard.path)
        wiki = wiki_of(self._shard.path, site, self._settings.wiki, origin.wiki)
        namespaces = numbers_of(self._settings.namespaces)
        pages = ExportedPages(wiki, site, origin.snapshot, namespaces)
        with MarkupParser(site.names, workers=parsers(self._settings)) as parser:
            for found, parsed in parser.parse_all(self._wanted(pages, start, tick), tick):
                yield Entry(found.after, pages.page(found.page, parsed, found.notes), tuple(found.notes))
        if self._damage is not None:
            raise self._damage

    def _wanted(self, pages: ExportedPages, start: Position, tick: Tick) -> Iterator[tuple[_Found, str | Rejected]]:
        """The pages of the file, and the wikitext to parse; a damage is kept until they all have been parsed."""
        self._damage = None
        try:
            for found in read_pages(ticking(self._dump.blocks(), tick), start):
                notes: list[str] = []
                if found.data is None:
                    page: ExportedPage | Rejected = Rejected(found.malformed, damaged=True)
                else:
                    page = pages.wanted(found.data, notes)
                yield _Found(found.after, page, notes), page if isinstance(page, Rejected) else page.wikitext
        except EndMissing:
            self._damage = Damaged("cut off", self.bytes_read, "it ends without </mediawiki>")
        except Damaged as damage:
            self._damage = damage


def parsers(settings: WikitextSettings) -> int:
    """Processes that parse the wikitext of one file: the cores, shared with the files that are read meanwhile."""
    cores = usable_cores()
    return max(1, cores // (settings.processes or cores))


def site_of(path: Path) -> Site:
    """The wiki that the head of an export describes.

    Raises:
        UsageError: it is no export.
        Damaged: it ends, or is broken, before its head is over.
    """
    try:
        return read_site(PackedFile(path).blocks())
    except (NotAnExport, WrongKind) as error:
        raise UsageError(f"{path}: no MediaWiki export: {error}") from None


def wiki_of(path: Path, site: Site, chosen: str, named: str) -> str:
    """The wiki's name, which is the first part of all keys: the one chosen, its database's, the file name's."""
    if not (wiki := chosen or site.wiki or named):
        raise UsageError(f"{path}: it does not say which wiki it is of (<dbname>): name it with --wiki")
    if not valid_wiki(wiki):
        raise UsageError(f"{path}: its wiki is {wiki[:80]!r}, which cannot stand in a key: name it with --wiki")
    return wiki


def _check(shard: Shard, settings: WikitextSettings) -> None:
    if find_spec("mwparserfromhell") is None:
        raise UsageError("the parser of wikitext is not installed: pip install 'mwparserfromhell>=0.7'")
    try:
        wiki_of(shard.path, site_of(shard.path), settings.wiki, shard.origin.wiki)
    except Damaged:
        return  # said when it is read, like every damage


SOURCE = Source("wikitext", WIKITEXT_NAMES, WikitextSettings, WikitextReader, _check)

app = new_app("Reads MediaWiki's XML exports into Kafka.")


@command(app, WikitextSettings)
def wikitext(settings: WikitextSettings) -> int:
    """Sends the articles of MediaWiki exports (`pages-articles`: .xml, .xml.bz2, .xml.gz) to `pages`, and goes on where
    it was left. Redirects are left out."""
    return run_source(SOURCE, settings)


if __name__ == "__main__":
    run(app, "producers.wikitext")
