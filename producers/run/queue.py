"""The files of a run, in order, as they become readable: they lie here, or come while others are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pipeline.errors import UsageError
from producers.run.shards import FileNames, Origin, Shard, find_shards, is_address
from producers.run.source import FileSettings

if TYPE_CHECKING:
    from producers.fetch.progress import DownloadProgress


class Expected(NamedTuple):
    """A file that a source has, here or not."""

    path: Path
    """Its place now, or once it is downloaded."""
    origin: Origin
    key: str
    folders: int = 0
    """Folders that are part of its name; see `Shard`."""


class ShardQueue(Protocol):
    """The files of a run. A context manager around the reading."""

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

    def __enter__(self) -> ShardQueue: ...

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
    def downloads(self) -> DownloadProgress | None:
        """The state of downloads; None where there are none."""
        ...


def open_queue(settings: FileSettings, names: FileNames) -> ShardQueue:
    """The files that the settings name: paths, one address of a store, or a wiki's dump.

    Raises:
        UsageError: they name nothing, or things that do not go together.
        TryAgain: a server does not answer.
    """
    addresses = [source for source in settings.sources if is_address(source)]
    if settings.downloads and settings.sources:
        raise UsageError("either sources or --wiki, whose dump is downloaded: not both")
    if addresses and len(settings.sources) > 1:
        raise UsageError(
            f"{addresses[0]}: an address of a store is read alone; name one folder with all the files in it"
        )
    if addresses or settings.downloads:
        from producers.run.downloads import open_downloads

        return open_downloads(settings, names, addresses[0] if addresses else "")
    return LocalQueue(find_shards(settings.sources, names))


@dataclass(slots=True)
class LocalQueue:
    """Files of this machine."""

    here: Sequence[Shard]
    downloads: None = None
    _waiting: Iterator[Shard] = field(default_factory=lambda: iter(()))
    _left: int = 0

    @property
    def expected(self) -> Sequence[Expected]:
        return [Expected(shard.path, shard.origin, shard.key, shard.folders) for shard in self.here]

    def choose(self, wanted: Callable[[str], bool]) -> None:
        chosen = [shard for shard in self.here if wanted(shard.key)]
        self._waiting, self._left = iter(chosen), len(chosen)

    def __enter__(self) -> LocalQueue:
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
