"""Where the files of a run come from: they lie here, or they come one after the other while others are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from pipeline.errors import UsageError
from producers.fetch.downloads import Downloads
from producers.fetch.mirror import find_snapshot
from producers.fetch.progress import DownloadProgress
from producers.fetch.remote_file import FileServer, RemoteFile
from producers.fetch.settings import GIB, DownloadSettings
from producers.fetch.store import find_remote, is_remote
from producers.files.file_settings import FileSettings
from producers.files.sources import FileNames, Origin, Shard, find_shards, open_shard, shard_key


class Expected(NamedTuple):
    """A file that a source has, here or not."""

    path: Path
    """Where it lies, or will."""
    origin: Origin
    key: str


class Feed(Protocol):
    """The files of a run, in order, as they become readable. A context manager around the reading."""

    @property
    def expected(self) -> Sequence[Expected]:
        """All files of the source, those of other producers too."""
        ...

    @property
    def here(self) -> Sequence[Shard]:
        """Those that need not be waited for."""
        ...

    def choose(self, wanted: Callable[[str], bool]) -> None:
        """Says, once and before the block, by their keys which files are to be read."""
        ...

    def __enter__(self) -> Feed: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def exhausted(self) -> bool: ...

    def take(self) -> Shard | None:
        """The next file; None when none is ready now. Raises what a download fails with."""
        ...

    def release(self, shard: Shard) -> None:
        """The file has been read to its end."""
        ...

    @property
    def progress(self) -> DownloadProgress | None:
        """How downloads stand; None where there are none."""
        ...


def open_feed(settings: FileSettings, names: FileNames) -> Feed:
    """The feed of what the settings name: files, one address of a store, or a wiki's dump.

    Raises:
        UsageError: they name nothing, or things that do not go together.
        TryAgain: a server does not answer.
    """
    remote = [source for source in settings.sources if is_remote(source)]
    wiki = settings.wiki if isinstance(settings, DownloadSettings) else ""
    if wiki and settings.sources:
        raise UsageError(f"either sources or --wiki {wiki}, which is downloaded: not both")
    if remote and len(settings.sources) > 1:
        raise UsageError(f"{remote[0]}: an address of a store is read alone; name one folder with all the files in it")
    if wiki and isinstance(settings, DownloadSettings):
        mirror, snapshot = find_snapshot(settings)
        return DownloadFeed(settings, names, mirror, snapshot.files)
    if remote:
        store, files = find_remote(remote[0], names)
        return DownloadFeed(settings, names, store, files)
    return LocalFeed(find_shards(settings.sources, names))


@dataclass(slots=True)
class LocalFeed:
    """Files of this machine."""

    here: Sequence[Shard]
    progress: None = None
    _waiting: Iterator[Shard] = field(default_factory=lambda: iter(()))
    _left: int = 0

    @property
    def expected(self) -> Sequence[Expected]:
        return [Expected(shard.path, shard.origin, shard.key) for shard in self.here]

    def choose(self, wanted: Callable[[str], bool]) -> None:
        chosen = [shard for shard in self.here if wanted(shard.key)]
        self._waiting, self._left = iter(chosen), len(chosen)

    def __enter__(self) -> LocalFeed:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def exhausted(self) -> bool:
        return self._left == 0

    def take(self) -> Shard | None:
        shard = next(self._waiting, None)
        self._left -= shard is not None
        return shard

    def release(self, shard: Shard) -> None:
        pass


class DownloadFeed:
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
        paths = [self._folder / file.place for file in files]
        origins = [names.origin(path) for path in paths]
        self.expected = [
            Expected(path, origin, shard_key(names.kind, origin, path.name))
            for path, origin in zip(paths, origins, strict=True)
        ]
        self._stack = ExitStack()
        self._wanted: Callable[[str], bool] = lambda _: True
        self._downloads: Downloads | None = None

    def choose(self, wanted: Callable[[str], bool]) -> None:
        self._wanted = wanted

    def __enter__(self) -> DownloadFeed:
        delete_after, ahead = False, 8.0
        if isinstance(self._settings, DownloadSettings):
            delete_after, ahead = self._settings.delete_after, self._settings.download_ahead_gib
        keys = {expected.path.name: expected.key for expected in self.expected}
        downloads = Downloads(
            self._server,
            self._files,
            self._folder,
            wanted=lambda name: self._wanted(keys[name]),
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
        return None if path is None else open_shard(path, self._names)

    def release(self, shard: Shard) -> None:
        if self._downloads is not None:
            self._downloads.release(shard.path)

    @property
    def progress(self) -> DownloadProgress | None:
        return None if self._downloads is None else self._downloads.progress()
