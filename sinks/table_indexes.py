"""Indexes and full-text columns as a table has them now: asked by its writer's upkeep, and by searches."""

from __future__ import annotations

from collections.abc import Collection

from lancedb.table import LanceTable

from sinks.indexes import Found
from sinks.languages import TEXT_COLUMNS


def found_indexes(lance: LanceTable) -> tuple[Found, ...]:
    """All indexes of the table."""
    return tuple(map(Found.of, lance.list_indices()))


def texts_with_rows(lance: LanceTable, known: Collection[str] = ()) -> set[str]:
    """The full-text columns that have rows. An empty column costs next to nothing to read, and one row is enough.

    Args:
        known: columns that are known to have some, and are not read.
    """
    there = [name for name in TEXT_COLUMNS if name in lance.schema.names]
    return {name for name in there if name in known or _has_rows(lance, name)}


def _has_rows(lance: LanceTable, column: str) -> bool:
    found = lance.search().where(f"{column} IS NOT NULL").select(["n"]).limit(1).to_arrow()
    return bool(found.num_rows)
