"""Indexes for searches as the table has them: looked at, made, and proved readable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lancedb.table import LanceTable

from pipeline.library_errors import LibraryError, library_errors
from sinks.indexes import KEYS, NAMES, TAIL_ROWS, VECTOR, Found, Index, Kind, in_the_way, is_text, wanted
from sinks.languages import TEXT_COLUMNS
from sinks.storage import storage_fault
from sinks.table_indexes import found_indexes
from sinks.upkeep.rules import State

DAMAGE = ("failed to fill whole buffer", "Invalid range", "corrupt", "Decompression failed", "decode Protobuf")
"""Parts of what LanceDB says of a file that is cut short or not as it was written. It seldom names the file."""

PASSING = ("os error", "503", "429", "timed out", "Too many open files")
"""Parts of what it says of a file that could not be read just now."""


def make(lance: LanceTable, index: Index) -> None:
    """Makes one index, of all rows there are."""
    for name in in_the_way(index, found_indexes(lance)):
        lance.drop_index(name)
    lance.create_index(index.column, config=index.config(), replace=True)


def damaged(lance: LanceTable, found: Iterable[Found]) -> Iterator[Found]:
    """Those of these indexes, of a column that we index, which cannot be read to their end, tried twice.

    Raises:
        Fatal: the operator must mend something first, such as the right to read the files.
    """
    ours = {VECTOR, *(index.column for index in (*KEYS, *wanted(lance.schema.names, TEXT_COLUMNS)))}
    for one in found:
        if one.column in ours and _is_damaged(lance, one.name) and _is_damaged(lance, one.name):
            yield one


def _is_damaged(lance: LanceTable, name: str) -> bool:
    try:
        with library_errors():
            lance.prewarm_index(name)
    except LibraryError as error:
        if fault := storage_fault(str(lance.name), error):
            raise fault from None
        panicked = error.panicked and not any(error.says(mark) for mark in PASSING)
        return panicked or tells_of_damage(error)
    return False


def may_be_damage(error: LibraryError) -> bool:
    """True when an index may be other than it was written, so that reading all of them is worth it."""
    return error.panicked or tells_of_damage(error)


def tells_of_damage(error: LibraryError) -> bool:
    """True when this is said of a file with other bytes in it, or of one of an index that is gone.

    Not of one that cannot be read now, with too many files open, say: that one is sound, and making it anew takes long.
    """
    gone = (error.says("not found") or error.says("Not found")) and error.says("/_indices/")
    return gone or any(error.says(mark) for mark in DAMAGE)


def waiting_rows(state: State) -> int:
    """Rows that words do not find yet: all, while the index of a full-text column that has rows is lacking, and those
    that the indexes lack, where they are too many to be read.
    """
    text = {NAMES.column, *state.texts}
    if any(index.kind is Kind.TEXT and index.column in text for index in state.lacking):
        return state.live_rows
    unindexed = max((found.unindexed for found in state.found if is_text(found)), default=0)
    return unindexed if unindexed > TAIL_ROWS else 0


def rewritten(state: State) -> int:
    """Bytes that a clean-up writes anew for one new row: twice the indexes, but for the vectors', which get a part of
    their own; and the rows, where no vector index keeps the fragments apart."""
    has_vectors = any(found.column == VECTOR for found in state.found)
    indexes = sum(found.bytes for found in state.found if found.column != VECTOR)
    return 2 * indexes + (0 if has_vectors else state.table_bytes)


def oldest_waiting(lance: LanceTable) -> float:
    """Unix time of the first version after the oldest full-text index was last brought up to date; 0: unknown."""
    made = [
        index.created_at.timestamp() for index in lance.list_indices() if is_text(Found.of(index)) and index.created_at
    ]
    times = [version["timestamp"].timestamp() for version in lance.list_versions()]
    return min((time for time in times if made and time > min(made)), default=0.0)
