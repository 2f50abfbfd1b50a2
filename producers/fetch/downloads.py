"""Files that download in the background while those that are whole are already read.

The files are given out in their order. Two threads fetch; with `delete_after` they pause when too much lies here that
nobody has read yet.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from pipeline.errors import CirrostreamError, Fatal, Stopped, UsageError, one_line
from producers.fetch import part_file
from producers.fetch.http import CONNECTIONS
from producers.fetch.part_file import PartFile
from producers.fetch.progress import DownloadProgress, DownloadState, FileProgress, Rate
from producers.fetch.remote_file import FileServer, RemoteFile
from producers.fetch.settings import GIB
from producers.fetch.transfer import look, obtain

STOP_SECONDS = 5.0
MARGIN_BYTES = GIB
"""To leave free: Kafka, the table and the logs write as well."""


def free_bytes(folder: Path) -> int:
    """Free space where the folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@dataclass(slots=True)
class _Item:
    file: RemoteFile
    part: PartFile
    state: DownloadState = "waiting"
    size: int | None = None

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def target(self) -> Path:
        return self.part.target

    @property
    def have(self) -> int:
        """Bytes of it that are here, or were until they were read."""
        return (self.size or 0) if self.state in ("here", "given", "released") else self.part.have


class Downloads:
    """Downloads `files` into `folder` and gives out their paths.

        with Downloads(server, files, folder, wanted=lambda file: file.name not in finished) as downloads:
            for path in downloads:
                read(path)
                downloads.release(path)

    A caller with other things to do asks `take()` instead. `wanted(file)` false: the file is neither downloaded nor
    given out. Without it all files are, except with `delete_after` those that an earlier run released. With
    `delete_after`, every path must be released in the end: at most `ahead_bytes` lie here, read or not.
    Leaving the block ends the downloads at once; what has come of a file stays for the next time.
    """

    def __init__(
        self,
        server: FileServer,
        files: Sequence[RemoteFile],
        folder: Path,
        *,
        wanted: Callable[[RemoteFile], bool] | None = None,
        delete_after: bool = False,
        ahead_bytes: int = 8 * GIB,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._server = server
        self._folder = folder.resolve()
        self._delete_after = delete_after
        self._ahead_bytes = ahead_bytes
        self._free = free
        self._items = [_Item(file, PartFile(self._folder / file.place)) for file in files]
        for item in self._items:
            if not (wanted(item.file) if wanted else self._is_wanted(item)):
                item.state = "unwanted"
        self._rate = Rate()
        self._changed = threading.Condition()
        self._error: CirrostreamError | None = None
        self._log: Any = structlog.get_logger()
        self._threads = [
            threading.Thread(target=self._work, name=f"download {number}", daemon=True) for number in range(CONNECTIONS)
        ]

    def __enter__(self) -> Downloads:
        """Raises UsageError when the disk is too small, and what `look` raises."""
        for item in self._wanted:
            self._measure(item)
        self._check_space()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(STOP_SECONDS)

    def __iter__(self) -> Iterator[Path]:
        """Each wanted file, in order, as soon as it is whole; at the end the first error, if there was one."""
        while not self.exhausted:
            if (path := self.take(1.0)) is not None:
                yield path

    def take(self, timeout_seconds: float = 0.0) -> Path | None:
        """The next file in order; None when it is not whole within the time, or there is no other.

        Raises the first error (Refused, CheckFailed, TryAgain, Fatal) when no other file is to be had because of it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._next_given() is not None or self._settled, timeout_seconds)
            item = self._next_given()
            if item is not None:
                item.state = "given"
                return item.target
            if self._settled and self._error is not None:
                raise self._error
            return None

    @property
    def exhausted(self) -> bool:
        """True when every wanted file has been given out."""
        return all(item.state in ("given", "released") for item in self._wanted)

    def release(self, path: Path) -> None:
        """The file was read. With `delete_after` it is deleted; its marker stays."""
        item = next((item for item in self._items if item.target == path), None)
        if item is None:
            raise ValueError(f"{path} was not given out here")
        if self._delete_after:
            part_file.release(path)
        with self._changed:
            item.state = "released"
            self._changed.notify_all()

    def progress(self) -> DownloadProgress:
        """The state of all downloads now."""
        files = tuple(FileProgress(item.file.place, item.state, item.have, item.size) for item in self._wanted)
        received = sum(item.part.received for item in self._items)
        rate = self._rate.after(self._server.clock.now(), received)
        return DownloadProgress(files, len(self._items) - len(files), received, rate)

    @property
    def _wanted(self) -> list[_Item]:
        return [item for item in self._items if item.state != "unwanted"]

    @property
    def _settled(self) -> bool:
        """True when no file will become whole any more."""
        states = {item.state for item in self._items}
        return "fetching" not in states and ("waiting" not in states or self._error is not None)

    def _is_wanted(self, item: _Item) -> bool:
        marker = part_file.read_marker(item.target)
        return not (self._delete_after and marker is not None and marker.released)

    def _measure(self, item: _Item) -> None:
        marker = part_file.read_marker(item.target)
        if part_file.is_whole(item.target) and marker is not None:
            item.size = item.part.have = marker.size
        else:
            item.size = item.file.size if item.file.size is not None else look(self._server, item.file).size
            adoptable = item.size is not None and item.target.is_file() and item.target.stat().st_size == item.size
            item.part.have = item.target.stat().st_size if adoptable else part_file.part_bytes(item.target)

    def _check_space(self) -> None:
        sizes = [max(0, (item.size or 0) - item.have) for item in self._wanted]
        needed = sum(sizes)
        if self._delete_after:
            needed = min(needed, max(self._ahead_bytes, *sizes, 0))
        advice = "free some" if self._delete_after else "free some, or let --delete-after delete what is read"
        _require_space(self._folder, needed, advice, self._free)

    def _next_given(self) -> _Item | None:
        """The first that is not given out, if it is here; one that failed stands in nobody's way."""
        ahead = (item for item in self._wanted if item.state not in ("given", "released", "failed"))
        if self._error is not None:
            ahead = (item for item in ahead if item.state != "waiting")
        first = next(ahead, None)
        return first if first is not None and first.state == "here" else None

    def _work(self) -> None:
        try:
            while (item := self._claim()) is not None:
                self._obtain(item)
        except Stopped:
            pass

    def _claim(self) -> _Item | None:
        """The next file to fetch; waits until there is room for it."""
        with self._changed:
            while self._error is None:
                self._server.clock.check()
                item = next((item for item in self._items if item.state == "waiting"), None)
                if item is None or self._has_room(item):
                    if item is not None:
                        item.state = "fetching"
                    return item
                self._changed.wait()
        return None

    def _has_room(self, item: _Item) -> bool:
        held = [other.size or 0 for other in self._items if other.state in ("fetching", "here", "given")]
        return not self._delete_after or not held or sum(held) + (item.size or 0) <= self._ahead_bytes

    def _obtain(self, item: _Item) -> None:
        error: CirrostreamError | None = None
        state: DownloadState = "failed"
        try:
            obtain(self._server, item.file, item.part, self._log)
            state, item.size = "here", item.target.stat().st_size
        except Stopped:
            state = "waiting"
        except CirrostreamError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001 - a thread's error must reach the one who waits for the file
            error = Fatal(f"{item.file.address}: unexpected {one_line(failure)}")
        with self._changed:
            item.state, self._error = state, self._error or error
            self._changed.notify_all()


def _require_space(folder: Path, needed: int, advice: str, free: Callable[[Path], int]) -> None:
    """Raises UsageError, with the advice, when `needed` bytes and the margin do not fit."""
    left = free(folder)
    if needed and needed + MARGIN_BYTES > left:
        raise UsageError(
            f"{folder}: {needed / GIB:,.1f} GiB to download and {MARGIN_BYTES / GIB:g} GiB to spare do not fit into "
            f"the {left / GIB:,.1f} GiB that are free: {advice}, or choose another --data-dir"
        )
