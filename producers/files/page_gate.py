"""Which pages of a file are sent: not those that the user does not want, nor those that are in `pages` as they are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline.records import Page
from producers.files.file_settings import FileSettings
from producers.files.filters import PageFilter
from producers.files.page_hashes import UNKNOWN, content_hash, details_hash, numeric_id
from producers.snapshots.baseline import Baseline
from producers.snapshots.manifest_builder import ManifestBuilder

UNCHANGED = "unchanged"
TOO_LARGE = "too_large"


class PageGate:
    """Decides on each page, and keeps the manifest of those that the snapshot has, sent or not."""

    def __init__(self, settings: FileSettings, baseline: str, sent: str, *, manifest: bool) -> None:
        self._filter = PageFilter.of(settings)
        self._baseline = _opened(baseline)
        self._sent = _opened(sent)
        self._refresh = settings.refresh_metadata
        self.manifest = ManifestBuilder() if manifest else None

    def refuses(self, page: Page) -> str:
        """The reason that the page is not sent for; empty when it is."""
        if reason := self._filter.refuses(page):
            return reason
        if self.manifest is None:
            return ""
        content, details = content_hash(page), details_hash(page)
        self.manifest.add_page(page, content, details)
        return UNCHANGED if self._is_known(page, content, details) else ""

    def unreadable(self, page_ids: Iterable[str]) -> None:
        """Notes an entry that could not be read, and the pages that it may be: none of them counts as gone."""
        if self.manifest is not None:
            self.manifest.add_unreadable(page_ids)

    def too_large(self, page: Page) -> str:
        """Notes that Kafka did not take the page: its next version counts as changed. The last one it took stays."""
        if self.manifest is not None:
            self.manifest.add(page.page_id, UNKNOWN, UNKNOWN)
        return TOO_LARGE

    def was_sent(self, page: Page) -> bool:
        """Whether an earlier run has sent it after it last wrote down its progress."""
        number = numeric_id(page.page_id) if self._sent is not None else None
        if self._sent is None or number is None:
            return False
        known = self._sent.find(number)  # first: hardly any page is there, and hashing is dear
        return known is not None and known == (content_hash(page), details_hash(page))

    def _is_known(self, page: Page, content: int, details: int) -> bool:
        number = numeric_id(page.page_id)
        if self._baseline is None or number is None:
            return False
        known = self._baseline.find(number)
        return known is not None and known[0] == content and (known[1] == details or not self._refresh)


def _opened(folder: str) -> Baseline | None:
    return Baseline.open(Path(folder)) if folder else None
