"""Files of a run that are downloaded while others are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from producers.fetch.downloads import Downloads
from producers.fetch.mirror import find_snapshot
from producers.fetch.progress import DownloadProgress
from producers.fetch.remote_file import FileServer, RemoteFile
from producers.fetch.settings import GIB, DownloadSettings
from producers.fetch.store import find_remote
from producers.run.queue import Expected
from producers.run.shards import FileNames, Shard, folders_in_names, name_with, open_shard, shard_key
from producers.run.source import FileSettings


def open_downloads(settings: FileSettings, names: FileNames, address: str) -> DownloadQueue:
    """The files at this address of a store; without one, of the wiki's dump that the settings name.

    Raises:
        UsageError: there are none.
        TryAgain: a server does not answer.
    """
    if not address:
        assert isinstance(settings, DownloadSettings)  # noqa: S101 - only these say that they download
        mirror, snapshot = find_snapshot(settings)
        return DownloadQueue(settings, names, mirror, snapshot.files)
    store, files = find_remote(address, names)
    return DownloadQueue(settings, names, store, files)


class DownloadQueue:
    """Files that are downloaded; with `delete_after` they are gone once they are read."""

    here: Sequence[Shard] = ()

    def __init__(
        self, settings: FileSettings, names: FileNames, server: FileServer, files: Sequence[RemoteFile]
    ) -> None:
        self._settings = settings
        self._names = names
        self._server = server
        self._files = files
        self._folder = (settings.data_dir / "dumps").resolve()
        folders = folders_in_names([self._folder / file.place for file in files], names)
        self.expected = [
            Expected(path, origin, shard_key(names.kind, origin, name_with(path, count)), count)
            for path, count in folders.items()
            for origin in (names.origin(path),)
        ]
        self._stack = ExitStack()
        self._wanted: Callable[[str], bool] = lambda _: True
        self._downloads: Downloads | None = None

    def choose(self, wanted: Callable[[str], bool]) -> None:
        self._wanted = wanted

    def __enter__(self) -> DownloadQueue:
        delete_after, ahead = False, 8.0
        if isinstance(self._settings, DownloadSettings):
            delete_after, ahead = self._settings.delete_after, self._settings.download_ahead_gib
        keys = {expected.path: expected.key for expected in self.expected}
        downloads = Downloads(
            self._server,
            self._files,
            self._folder,
            wanted=lambda file: self._wanted(keys[self._folder / file.place]),
            delete_after=delete_after,
            ahead_bytes=int(ahead * GIB),
        )
        self._downloads = self._stack.enter_context(downloads)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def exhausted(self) -> bool:
        return self._downloads is not None and self._downloads.exhausted

    def take(self) -> Shard | None:
        path = self._downloads.take() if self._downloads is not None else None
        if path is None:
            return None
        folders = next(expected.folders for expected in self.expected if expected.path == path)
        return replace(open_shard(path, self._names), folders=folders)

    def release(self, shard: Shard) -> None:
        if self._downloads is not None:
            self._downloads.release(shard.path)

    @property
    def downloads(self) -> DownloadProgress | None:
        return None if self._downloads is None else self._downloads.progress()
