"""Rows without derived columns, or with those of older rules: read whole, to be merged again with them.

A table that an older version filled has none. They follow from the row's other columns, so nothing is embedded again,
and whoever searches meanwhile finds these rows by their vectors.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from lancedb.table import LanceTable

from sinks.derived import FIELDS, SOURCES, derived_columns
from sinks.row_bytes import BYTES_PER_ROW
from sinks.rows import STALE

MAX_BYTES = 10_000 * BYTES_PER_ROW
"""Of the rows that are merged at once, as of a batch that comes from Kafka."""

FIRST_ROWS = 16
MORE = 4
"""Rows that are read first, and the factor by which the next ones may be more: large rows are noticed in time."""

CAN_BE = f"({STALE}) AND id IS NOT NULL AND source IS NOT NULL"
"""A row without id or version is damaged, and waits for its repair."""


def stale_rows(lance: LanceTable, limit: int) -> pa.Table:
    """At most `limit` rows to fill, with all their columns, those of somebody else included; at most `MAX_BYTES`.

    Each id comes once: of a damaged page's twins one now, the other with the next call.
    """
    found = lance.search().where(CAN_BE).select(["n"]).with_row_id(True).limit(limit).to_arrow()
    places = found["_rowid"].to_pylist()
    parts: list[pa.Table] = []
    room, size, start = MAX_BYTES, FIRST_ROWS, 0
    while start < len(places):
        part = lance.take_row_ids(places[start : start + size]).to_arrow()
        start += size
        if part.nbytes > room and parts:
            break
        parts.append(_fitting(part, room))
        room -= parts[-1].nbytes
        size = min(MORE * size, max(1, room * part.num_rows // max(1, part.nbytes)))
    rows = pa.concat_tables(parts) if parts else pa.table({"id": pa.array([], pa.string())})
    return rows.take(np.sort(_first_of_each(rows["id"])))


def filled(rows: pa.Table) -> pa.Table:
    """These rows with their derived columns made."""
    made = derived_columns(rows.select(SOURCES))
    for field in FIELDS:
        rows = rows.set_column(rows.schema.get_field_index(field.name), field, made[field.name])
    return rows


def _fitting(rows: pa.Table, room: int) -> pa.Table:
    while rows.nbytes > room and rows.num_rows > 1:
        rows = rows.slice(0, rows.num_rows // 2)
    return rows


def _first_of_each(ids: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    places = pa.table({"id": ids, "place": np.arange(len(ids))})
    return np.asarray(places.group_by("id").aggregate([("place", "min")])["place_min"])
