"""The contents of a dump server, or a mirror of one: snapshots by date, wikis in them, shards in those.

The layout is Wikimedia's since 2026: `BASE/<date>/index_name=<wiki>_content/<wiki>_content-<date>-NNNNN.json.bz2`. A
snapshot is written over half a day, and `_SUCCESS` is its last file: in the wiki's folder, or in the date's for all.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import structlog

from pipeline.errors import TryAgain, UsageError
from producers.fetch.contact import user_agent
from producers.fetch.http import HttpFiles
from producers.fetch.listing import Listing, read_listing
from producers.fetch.remote_file import NotThere, RemoteFile, Unavailable
from producers.fetch.settings import LATEST, MirrorSettings

DONE = "_SUCCESS"
_DATE = re.compile(r"\d{8}")
_WIKI_FOLDER = re.compile(r"index_name=([a-z0-9][a-z0-9_-]{0,63})_content")
_ANY_SHARD = re.compile(r".*\.json\.(bz2|gz)")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A complete snapshot of a wiki, and its shards in their order."""

    wiki: str
    date: str
    address: str
    files: tuple[RemoteFile, ...]


def find_snapshot(settings: MirrorSettings) -> tuple[HttpFiles, Snapshot]:
    """The snapshot that the settings name, and the server to download it from. Raises UsageError, TryAgain."""
    if not settings.wiki:
        raise UsageError("no wiki: name one, such as --wiki simplewiki")
    server = HttpFiles(user_agent(settings.contact, settings.mirror), settings.stall_seconds)
    return server, DumpMirror(settings.mirror, server).snapshot(settings.wiki, settings.snapshot)


class DumpMirror:
    """A server of dumps by its base address, which ends with a slash."""

    def __init__(self, address: str, files: HttpFiles) -> None:
        self.address = address
        self._files = files
        self._log: Any = structlog.get_logger()

    def snapshot(self, wiki: str, date: str = LATEST) -> Snapshot:
        """The snapshot of this date, or the newest complete one.

        Raises:
            UsageError: the wiki or the date is not there, or is not complete yet.
            TryAgain: the server does not answer.
        """
        try:
            return self._latest(wiki) if date == LATEST else self._dated(wiki, date)
        except Unavailable as error:
            raise TryAgain(f"{error}; given up after several tries, try later") from error

    def _latest(self, wiki: str) -> Snapshot:
        unfinished = []
        dates = self._dates()
        for date in dates:
            if (listing := self._wiki(wiki, date)) is None:
                continue
            if self._is_complete(listing, date):
                return self._snapshot(wiki, date, listing)
            unfinished.append(date)
            self._log.info("snapshot not complete yet", wiki=wiki, snapshot=date)
        if unfinished:
            raise UsageError(
                f"{self.address}: no snapshot of {wiki} is complete: {', '.join(unfinished)} "
                f"without {DONE}; it is written when all shards are there, try tomorrow"
            )
        raise UsageError(self._no_wiki(wiki, dates[0]))

    def _dated(self, wiki: str, date: str) -> Snapshot:
        listing = self._wiki(wiki, date)
        if listing is None:
            dates = self._dates()
            if date not in dates:
                raise UsageError(f"{self.address}: no snapshot {date}; there are {', '.join(reversed(dates[:12]))}")
            raise UsageError(self._no_wiki(wiki, date))
        if not self._is_complete(listing, date):
            raise UsageError(
                f"{self._folder(wiki, date)}: not complete, there is no {DONE} yet: try later, or --snapshot latest"
            )
        return self._snapshot(wiki, date, listing)

    def _snapshot(self, wiki: str, date: str, listing: Listing) -> Snapshot:
        shard = re.compile(rf"{re.escape(wiki)}_content-{date}-(\d{{1,8}})\.json\.bz2")
        numbered = sorted((int(found[1]), name) for name in listing.sizes if (found := shard.fullmatch(name)))
        strange = sum(_ANY_SHARD.fullmatch(name) is not None for name in listing.sizes) - len(numbered)
        address = self._folder(wiki, date)
        if strange:
            self._log.warning("files whose names are not those of this dump are left alone", at=address, files=strange)
        if not numbered:
            raise UsageError(f"{address}: no shard is listed, though it says {DONE}; is this a mirror of the dumps?")
        # Whether numbers may be left out, nobody promises; a list that was cut off would show like this.
        if missing := numbered[-1][0] + 1 - len(numbered):
            self._log.warning("numbers of shards are missing in the listing", at=address, missing=missing)
        place = f"{date}/index_name={wiki}_content"
        files = (RemoteFile(address + quote(name), f"{place}/{name}", listing.sizes[name]) for _, name in numbered)
        return Snapshot(wiki, date, address, tuple(files))

    def _is_complete(self, listing: Listing, date: str) -> bool:
        return DONE in listing.sizes or DONE in self._list(f"{self.address}{date}/").sizes

    def _dates(self) -> list[str]:
        """Newest first."""
        try:
            listing = self._list(self.address)
        except NotThere as error:
            raise UsageError(f"{error}; --mirror is the folder that has a folder for each date") from None
        dates = sorted((name for name in listing.sizes if _DATE.fullmatch(name)), reverse=True)
        if not dates:
            raise UsageError(f"{self.address}: no snapshot is listed; --mirror is the folder with one for each date")
        return dates

    def _wiki(self, wiki: str, date: str) -> Listing | None:
        try:
            return self._list(self._folder(wiki, date))
        except NotThere:
            return None

    def _folder(self, wiki: str, date: str) -> str:
        return f"{self.address}{date}/{quote(f'index_name={wiki}_content')}/"

    def _list(self, address: str) -> Listing:
        listing = read_listing(self._files.listing(address), address)
        if listing.outside:
            self._log.warning("links that lead out of the folder are not followed", at=address, links=listing.outside)
        return listing

    def _no_wiki(self, wiki: str, date: str) -> str:
        wikis = list(self._wikis(date))
        near = difflib.get_close_matches(wiki, wikis, n=3, cutoff=0.5) or sorted(wikis)[:3]
        hint = f"; there are {len(wikis)} others, such as {', '.join(near)}" if near else ""
        return f"{self.address}: no dump of {wiki!r} in {date}{hint}"

    def _wikis(self, date: str) -> Iterator[str]:
        for name in self._list(f"{self.address}{date}/").sizes:
            if found := _WIKI_FOLDER.fullmatch(name):
                yield found[1]
