"""Rows that are shown, read whole at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor

from pipeline.errors import CirrostreamError
from sinks.reader import Reader
from sinks.search.asked import Row
from sinks.storage import quoted


def rows_at(reader: Reader, places: Mapping[str, int], columns: Sequence[str], pool: Executor) -> dict[str, Row]:
    """The rows with these ids, by id; one that has gone meanwhile is missing.

    Reading by LanceDB's row ids takes 8 ms of processor time for 30 rows of a million, and most of it is in proportion
    to the columns, one after the other; so the half of them is read beside the others. A row id holds in one version
    alone, so rows that are others than they should be, for the table was compacted in between, are read by our ids.

    Args:
        places: id -> LanceDB's row id; -1: not known.
        columns: `id` among them.
    """
    known = [place for place in places.values() if place >= 0]
    others = [name for name in columns if name != "id"]
    parts = (["id", *others[::2]], ["id", *others[1::2]])
    second = pool.submit(_taken, reader, known, parts[1])
    first = _taken(reader, known, parts[0])
    more = second.result()
    found = {key: row | more[key] for key, row in first.items() if key in places and key in more}
    return found | rows_of(reader, places.keys() - found.keys(), columns)


def _taken(reader: Reader, places: Sequence[int], columns: Sequence[str]) -> dict[str, Row]:
    """The rows with these row ids, by id; none where a row id is of another version."""
    if not places:
        return {}
    try:
        rows = reader.read(lambda lance: lance.take_row_ids(list(places)).select(list(columns)).to_arrow().to_pylist())
    except CirrostreamError:
        return {}
    return {row["id"]: row for row in rows}


def rows_of(reader: Reader, ids: Iterable[str], columns: Sequence[str]) -> dict[str, Row]:
    """The rows with these ids, by id; one that has gone meanwhile is missing."""
    listed = ", ".join(map(quoted, ids))
    if not listed:
        return {}
    condition = f"id IN ({listed})"
    rows = reader.read(lambda lance: lance.search().where(condition).select(list(columns)).to_arrow().to_pylist())
    return {row["id"]: row for row in rows}
