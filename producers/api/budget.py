"""Requests a minute to a wiki's servers, counted over all our processes on a machine that share a data folder.

Wikimedia's limits (https://www.mediawiki.org/wiki/Wikimedia_APIs/Rate_limits) are for a client, over all its wikis:
200 a minute for one that names its operator, 2,000 for an established editor's account, none for a bot's.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import UsageError
from producers.fetch.contact import is_loopback

NAMED = 200
EDITOR = 2_000
"""Requests a minute."""

_SHARE = 0.95
"""Of what is allowed: requests that were sent apart may arrive closer together."""

_MAX_AHEAD_SECONDS = 600.0
"""Nobody waits for so long: the clock was set back."""

_NEXT = struct.Struct("<d")
_WIKIMEDIA = re.compile(
    r"(?:.+\.)?(?:wikipedia|wiktionary|wikibooks|wikiquote|wikisource|wikinews|wikiversity|wikivoyage|wikimedia"
    r"|wikidata|wikifunctions|mediawiki)\.org"
)


class Budget:
    """Turns, evenly spaced: `file` holds the time of the next one."""

    def __init__(self, file: Path, a_minute: int, now: Callable[[], float] = time.time) -> None:
        self._file = file
        self._seconds = 60.0 / (a_minute * _SHARE)
        self._now = now

    def take(self) -> float:
        """Takes the next turn, and says how many seconds to wait for it.

        Raises:
            UsageError: the file cannot be had, locked or written.
        """
        try:
            return self._take()
        except OSError as error:
            raise UsageError(f"{self._file}: requests to a wiki are counted there: {error.strerror}") from None

    def _take(self) -> float:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # held for microseconds
            now = self._now()
            stored = os.pread(descriptor, _NEXT.size, 0)
            turn = _NEXT.unpack(stored)[0] if len(stored) == _NEXT.size else now
            if not now <= turn <= now + _MAX_AHEAD_SECONDS:  # also for what is no number
                turn = now
            os.pwrite(descriptor, _NEXT.pack(turn + self._seconds), 0)
        finally:
            os.close(descriptor)
        return turn - now


def budget_for(url: str, data_dir: Path, user_id: int = 0, groups: frozenset[str] = frozenset()) -> Budget | None:
    """The budget for this API as this user of the wiki (0: none); None: as many requests as two connections can make.

    A wiki on this machine has none, nor has a bot's account.
    """
    host = urlsplit(url).hostname or ""
    if is_loopback(host) or "bot" in groups:
        return None
    server = "wikimedia" if _WIKIMEDIA.fullmatch(host) else re.sub(r"[^a-z0-9.-]", "_", host.lower())
    file = data_dir / "requests" / (f"{server}-{user_id}" if user_id else server)
    return Budget(file, EDITOR if user_id and "autoconfirmed" in groups else NAMED)
