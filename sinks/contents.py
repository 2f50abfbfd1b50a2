"""The origin of a table's texts, as its writer keeps it in the fence: noted page by page while it writes.

A table that is older than this note is looked at once, in a sample of its rows.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from lancedb.table import LanceTable

from pipeline.records import Page
from sinks.about import Contents
from sinks.fence import Fence
from sinks.storage import retried
from sinks.table import Table

SAMPLE_ROWS = 1_000
COLUMNS = ("wiki", "language", "snapshot", "url", "timestamp", "metadata")


def note_pages(table: Table, pages: Iterable[Page]) -> None:
    """Notes what these pages bring that the table had nothing of: another snapshot, say. Mostly it has nothing to do.

    Raises:
        Replaced, Fatal, TryAgain: as `Table.write` does.
    """
    about = table.fence.about
    if about is None:
        return
    contents = about.contents.with_pages(pages)
    if contents is not about.contents:
        table.note(lambda fence: _with(fence, contents))


def note_stored(table: Table) -> None:
    """Notes what a table has that was filled before there was such a note."""
    about = table.fence.about
    if about is not None and about.contents == Contents():
        note_pages(table, retried(lambda: sample(table.lance), table.name))


def sample(lance: LanceTable, rows: int = SAMPLE_ROWS) -> list[Page]:
    """The pages of random live rows, without their texts; of all rows where there are not more."""
    count = lance.count_rows()
    offsets = sorted(random.Random(count).sample(range(count), min(rows, count)))  # noqa: S311 - no secret
    columns = [name for name in COLUMNS if name in lance.schema.names]
    found = lance.take_offsets(offsets).select(["n", "start", *columns]).to_arrow().to_pylist()
    return [_page(row) for row in found if row["n"] is not None and row["n"] >= 0 and row["start"] is not None]


def _page(row: Mapping[str, Any]) -> Page:
    said = {name: str(row.get(name) or "") for name in COLUMNS}
    return Page(
        wiki=said["wiki"],
        page_id="",
        title="",
        text="",
        language=said["language"],
        snapshot=said["snapshot"],
        url=said["url"],
        timestamp=said["timestamp"],
        metadata=said["metadata"],
    )


def _with(fence: Fence, contents: Contents) -> Fence:
    if fence.about is None:
        return fence
    return msgspec.structs.replace(fence, about=msgspec.structs.replace(fence.about, contents=contents))
