"""`python -m producers.wikitext FILE…`: MediaWiki's XML exports into `pages`, with an account of every page."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from pipeline.cli import command, new_app, run
from pipeline.errors import UsageError
from producers.bytes.blocks import Damaged
from producers.exports.wikitext_reader import WikitextReader, site_of, wiki_of
from producers.exports.wikitext_settings import WikitextSettings
from producers.files.file_run import FileRun
from producers.files.page_reader import FileKind
from producers.files.sources import FileNames, Origin, Shard

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


def _check(shard: Shard, settings: WikitextSettings) -> None:
    try:
        wiki_of(shard.path, site_of(shard.path), settings.wiki, shard.origin.wiki)
    except Damaged:
        return  # said when it is read, like every damage


KIND = FileKind("wikitext", WIKITEXT_NAMES, WikitextSettings, WikitextReader, _check)

app = new_app("Reads MediaWiki's XML exports into Kafka.")


@command(app, WikitextSettings)
def wikitext(settings: WikitextSettings) -> int:
    """Sends the articles of MediaWiki exports (`pages-articles`: .xml, .xml.bz2, .xml.gz) to `pages`, and goes on where
    it was left. Redirects are left out."""
    if find_spec("mwparserfromhell") is None:
        raise UsageError("the parser of wikitext is not installed: pip install 'mwparserfromhell>=0.7'")

    def origin(path: Path) -> Origin:
        named = origin_of(path)
        return Origin(settings.wiki or named.wiki, named.snapshot)

    return FileRun(replace(KIND, names=replace(WIKITEXT_NAMES, origin=origin)), settings).run()


if __name__ == "__main__":
    run(app, "producers.wikitext")
