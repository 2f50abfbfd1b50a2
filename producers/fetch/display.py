"""What the operator sees of downloads: bars on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from typing import Any, Protocol

from rich.progress import TaskID

from pipeline.terminal import Console, byte_bars
from producers.fetch.progress import DownloadProgress

LINE_SECONDS = 5.0


class DownloadDisplay(Protocol):
    """Shows downloads while they go on."""

    def __enter__(self) -> DownloadDisplay: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, progress: DownloadProgress) -> None: ...


def download_display(log: Any) -> DownloadDisplay:
    console = Console(stderr=True)
    return DownloadBars(console) if console.is_terminal else DownloadLines(log)


class DownloadBars:
    """A bar for each file that is coming and one for all."""

    def __init__(self, console: Console) -> None:
        self._bars = byte_bars(console)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> DownloadBars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, progress: DownloadProgress) -> None:
        for file in progress.files:
            if file.state == "fetching":
                self._update(file.name, file.have, file.size, "")
            elif file.name in self._tasks:
                self._bars.remove_task(self._tasks.pop(file.name))
        note = f"{progress.finished}/{len(progress.files)} files, {progress.bytes_per_second / 1e6:,.1f} MB/s"
        self._update("all files", progress.have, progress.size, note)

    def _update(self, name: str, have: int, size: int | None, note: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=size, note=note)
        self._bars.update(self._tasks[name], completed=have, total=size, note=note)


class DownloadLines:
    """A structured log line every 5 s."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._shown_at = time.monotonic()

    def __enter__(self) -> DownloadLines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, progress: DownloadProgress) -> None:
        if time.monotonic() - self._shown_at < LINE_SECONDS:
            return
        self._shown_at = time.monotonic()
        eta = progress.eta_seconds
        self._log.info(
            "downloading",
            files_finished=progress.finished,
            files=len(progress.files),
            megabytes=round(progress.have / 1e6, 1),
            megabytes_per_second=round(progress.bytes_per_second / 1e6, 2),
            percent=round(100 * progress.have / max(1, progress.size), 1),
            eta_seconds=None if eta is None else round(eta),
        )
