"""The memory that a page's rows will take, told before they are made: each of them repeats the page's own columns, and
has its text twice, the second time for the full-text index of its language.

A message of 1.5 MB with a megabyte of metadata and 250 chunks makes 250 MB of rows. LanceDB takes four times that to
merge them, its join gives up somewhere below 1 GB, and Arrow's columns of strings end at 2 GiB: beyond that a page can
never be written, whatever is tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.records import EmbeddedPage, Page
from pipeline.settings import MIB
from sinks.derived import facets_of
from sinks.names import MAX_NAMES

MAX_PAGE_BYTES = 128 * MIB
"""Of the rows of one page. A merge of so much peaks at 0.8 GB of resident memory, of twice as much at 1.3 to 1.8 GB."""

BYTES_PER_ROW = 4096
"""The most bytes of a row of usual size. A larger one counts as several: a batch of 10,000 has 41 MB, or one page."""

ROW_BYTES = 280
"""Of a row's numbers, offsets, hashes and dates, and of the columns that are empty in it."""


@dataclass(frozen=True, slots=True)
class RowBytes:
    """Bytes of a page's live rows; right within some percent."""

    own: int
    """Bytes of each row's own columns: text, vector, numbers."""
    repeated: int
    """Bytes that all of them repeat: title, address, categories, aliases, metadata, and the facets of its fields."""

    @property
    def total(self) -> int:
        return self.own + self.repeated

    @classmethod
    def of(cls, record: EmbeddedPage) -> RowBytes:
        """The rows of a page; its vectors count as f32."""
        rows, page = len(record.spans), record.page
        if page is None or not rows:
            return cls(ROW_BYTES, 0)
        characters = sum(max(0, span.end - span.start) for span in record.spans)
        texts = math.ceil(characters * _utf8(page.text) / max(1, len(page.text)))
        own = 2 * texts + rows * (ROW_BYTES + 4 * record.dimension + 3 * len(record.key)) + _names(page)
        return cls(own, rows * (_repeated(page) + _utf8(record.device) + _utf8(record.dtype)))


def too_large(record: EmbeddedPage) -> str | None:
    """The reason why the page cannot be merged, more rows or larger ones than can be; None when it can."""
    size = RowBytes.of(record)
    if size.total <= MAX_PAGE_BYTES:
        return None
    return (
        f"its {len(record.spans):,} rows would take {_mb(size.total)}, {_mb(size.repeated)} of that for title, "
        "categories, aliases and metadata, which every row repeats; "
        f"{_mb(MAX_PAGE_BYTES)} are the most: send it with less of these, or in parts"
    )


def _repeated(page: Page) -> int:
    lists = (*page.categories, *page.aliases, *(facets_of(page.metadata) or ()))
    strings = (page.title, page.title, page.url, page.metadata, *lists)
    return sum(map(_utf8, strings)) + 4 * len(lists)


def _names(page: Page) -> int:
    """About what row 0 has of the page's names."""
    return min(sum(map(_utf8, (page.title, page.title, *page.aliases))), MAX_NAMES)


def _utf8(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
