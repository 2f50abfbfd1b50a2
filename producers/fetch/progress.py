"""How downloads stand, for whoever watches them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

DownloadState = Literal["waiting", "fetching", "here", "given", "released", "failed", "unwanted"]
"""`here`: whole and not yet asked for; `given`: being read; `unwanted`: neither downloaded nor read this time."""

RATE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class FileProgress:
    """One file."""

    name: str
    state: DownloadState
    have: int
    size: int | None

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
