"""The state of downloads, for whoever watches them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from pipeline.bars import Bar

DownloadState = Literal["waiting", "fetching", "here", "given", "released", "failed", "unwanted"]
"""`here`: whole and not yet asked for; `given`: being read; `unwanted`: neither downloaded nor read this time."""

RATE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class FileProgress:
    """One file."""

    place: str
    """Its path below the downloads' folder."""
    state: DownloadState
    have: int
    size: int | None

    @property
    def name(self) -> str:
        return self.place.rsplit("/", 1)[-1]

    @property
    def done(self) -> bool:
        return self.state in ("here", "given", "released")


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """All wanted files at one moment."""

    files: tuple[FileProgress, ...]
    unwanted: int
    received: int
    """Bytes that came over the network in this run."""
    bytes_per_second: float

    @property
    def finished(self) -> int:
        return sum(file.done for file in self.files)

    @property
    def have(self) -> int:
        return sum(file.have for file in self.files)

    @property
    def size(self) -> int:
        """Of all files; those whose size no server has told count as what came of them."""
        return sum(max(file.have, file.size or 0) for file in self.files)

    @property
    def eta_seconds(self) -> float | None:
        return (self.size - self.have) / self.bytes_per_second if self.bytes_per_second > 0 else None

    def bars(self) -> dict[str, Bar]:
        """A bar for each file that is coming and one for all."""
        coming = {f.place: Bar(f.name, f.have, f.size) for f in self.files if f.state == "fetching"}
        return {**coming, "": self.bar("all files")}

    def bar(self, name: str) -> Bar:
        """A bar for all files."""
        note = f"{self.finished}/{len(self.files)} files, {self.bytes_per_second / 1e6:,.1f} MB/s"
        return Bar(name, self.have, self.size, note)

    def lines(self) -> dict[str, dict[str, object]]:
        """The values of a line of the log."""
        values: dict[str, object] = {
            "files_here": self.finished,
            "files": len(self.files),
            "percent": round(100 * self.have / max(1, self.size), 1),
            "bytes_per_second": round(self.bytes_per_second),
            "eta_seconds": None if self.eta_seconds is None else round(self.eta_seconds),
        }
        return {"downloading": values}


class Rate:
    """Bytes a second over the last 20 s."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def after(self, now: float, total: int) -> float:
        """The rate when `total` bytes have come by `now`."""
        if not self._seen or now - self._seen[-1][0] >= 0.1:
            self._seen.append((now, total))
        while len(self._seen) > 2 and now - self._seen[1][0] > RATE_SECONDS:
            self._seen.popleft()
        since, before = self._seen[0]
        return (total - before) / (now - since) if now > since else 0.0
