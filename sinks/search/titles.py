"""Titles as somebody types them."""

from __future__ import annotations

from sinks.names import folded
from sinks.reader import Reader
from sinks.search.state import State
from sinks.storage import quoted

MOST = 1_000
"""Titles with the letters typed so far that are read, to show the most popular; one or two letters fit more."""
LAST = "\U0010ffff"
"""After every other character: the end of the titles that begin so."""

COLUMNS: tuple[str, ...] = ("title", "popularity_score", "incoming_links")


def titles(reader: Reader, state: State, typed: str, k: int, where: str | None) -> list[str]:
    """Titles that begin with these letters, the most popular first: a range of the BTREE on folded titles."""
    name = folded(typed)
    if not name or not state.names:
        return []
    within = f"name >= {quoted(name)} AND name < {quoted(name + LAST)}"
    condition = f"{within} AND ({where})" if where else within
    columns = [name for name in COLUMNS if name in state.columns]
    rows = reader.read(lambda lance: lance.search().where(condition).select(columns).limit(MOST).to_arrow().to_pylist())
    rows.sort(key=lambda row: (-(row["popularity_score"] or 0), -(row["incoming_links"] or 0), len(row["title"] or "")))
    return list(dict.fromkeys(row["title"] for row in rows if row["title"]))[:k]
