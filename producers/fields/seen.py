"""Notices ids that a file has twice: the later page replaces the earlier one in the table, and somebody should know."""

from __future__ import annotations

import hashlib

from pipeline.records import Page
from pipeline.rejected import Rejected

MAX_IDS = 500_000
"""About 50 MB. A file with more is looked at in stretches of so many."""


class SeenIds:
    """The ids of the last pages of one run over one file, as 64-bit hashes."""

    def __init__(self, max_ids: int = MAX_IDS) -> None:
        self._max_ids = max_ids
        self._seen: set[int] = set()

    def notes(self, page: Page | Rejected) -> tuple[str, ...]:
        """`duplicate_id` for a page whose id was seen before."""
        return ("duplicate_id",) if isinstance(page, Page) and self.again(page.page_id) else ()

    def again(self, page_id: str) -> bool:
        """True for an id that was seen before; a duplicate further away than `max_ids` may go unnoticed."""
        digest = int.from_bytes(hashlib.blake2b(page_id.encode(), digest_size=8).digest())
        if digest in self._seen:
            return True
        if len(self._seen) >= self._max_ids:
            self._seen.clear()
        self._seen.add(digest)
        return False
