"""Pages that the user does not want, whatever file they come from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pipeline.records import Page
from producers.files.file_settings import FileSettings

_HASHES = 1 << 64


@dataclass(frozen=True, slots=True)
class PageFilter:
    """Says why a page is left out."""

    sample: float = 1.0
    min_length: int = 0

    @classmethod
    def of(cls, settings: FileSettings) -> PageFilter:
        return cls(settings.sample, settings.min_length)

    def refuses(self, page: Page) -> str:
        """The reason that it is counted under; empty when it is wanted."""
        if len(page.text) < self.min_length:
            return "short"
        if self.sample < 1.0 and share_of(page.key) >= self.sample:
            return "not_sampled"
        return ""


def share_of(key: str) -> float:
    """A number from 0 to 1 that depends on the key alone: a smaller sample is part of a larger one."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) / _HASHES
