"""Reads a MediaWiki export: file → pages of XML → wikitext → pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.records import Page, valid_wiki
from producers.bytes.blocks import Damaged, DumpFile, WrongKind
from producers.bytes.xml import EndMissing, PageBytes, read_pages
from producers.exports.exported_pages import ExportedPages
from producers.exports.wikitext_settings import WikitextSettings
from producers.exports.xml_export import NotAnExport, Site, read_site
from producers.files.accounting import settle
from producers.files.page_reader import Passed
from producers.files.progress import Progress
from producers.wikimedia.parser import MarkupParser


class WikitextReader:
    """One file of an export. Its redirects are left out: which page one leads to may be known long after that page
    was sent."""

    def __init__(self, path: Path, start: Progress, settings: WikitextSettings) -> None:
        self.ledger = start.ledger.copy()
        self._path = path
        self._dump = DumpFile(path)
        self._start = start
        self._settings = settings

    @property
    def bytes_read(self) -> int:
        return self._dump.bytes_read

    def read(self, tick: Callable[[], None]) -> Iterator[Passed]:
        """The entries from the start position on; see `PageReader`."""
        site = site_of(self._path)
        wiki = wiki_of(self._path, site, self._settings.wiki, self._start.wiki)
        with MarkupParser(site.names) as process:
            pages = ExportedPages(
                wiki,
                site,
                self._start.snapshot,
                self._settings.kept_namespaces,
                lambda wikitext: process.parse(wikitext, tick),
            )
            try:
                for page in read_pages(self._blocks(tick), self._start.position):
                    yield Passed(self._take(page, pages), page.after)
            except EndMissing:
                raise Damaged("cut off", self.bytes_read, "it ends without </mediawiki>") from None

    def _blocks(self, tick: Callable[[], None]) -> Iterator[bytes]:
        for block in self._dump.blocks():
            yield block
            tick()

    def _take(self, page: PageBytes, pages: ExportedPages) -> Page | None:
        self.ledger.lines = page.after.line
        self.ledger.read += 1
        if page.data is None:
            self.ledger.spoil(page.malformed)
            return None
        return settle(self.ledger, pages.read(page.data))


def site_of(path: Path) -> Site:
    """What the head of an export says of its wiki.

    Raises:
        UsageError: it is no export.
        Damaged: it ends, or is broken, before its head is over.
    """
    try:
        return read_site(DumpFile(path).blocks())
    except (NotAnExport, WrongKind) as error:
        raise UsageError(f"{path}: no MediaWiki export: {error}") from None


def wiki_of(path: Path, site: Site, chosen: str, named: str) -> str:
    """The wiki's name, which is the first part of all keys: the one chosen, its database's, the file name's."""
    if not (wiki := chosen or site.wiki or named):
        raise UsageError(f"{path}: it does not say which wiki it is of (<dbname>): name it with --wiki")
    if not valid_wiki(wiki):
        raise UsageError(f"{path}: its wiki is {wiki[:80]!r}, which cannot stand in a key: name it with --wiki")
    return wiki
