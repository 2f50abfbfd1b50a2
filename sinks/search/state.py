"""The state of a table as far as searches depend on it: its columns, its indexes, its measurements."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import structlog

from pipeline.errors import CirrostreamError
from sinks.derived import STALE
from sinks.indexes import TAIL_ROWS
from sinks.languages import TEXT_COLUMNS
from sinks.measured import Measured
from sinks.reader import Reader
from sinks.rows import LIVE

NPROBES = 20
REFINE = 2
"""Until upkeep has measured. IVF_RQ over a million made-up vectors, 100 candidates: recall@10 0.999; 50 and 10 take
four times as long."""

LOOK_SECONDS = 10.0
"""Longest that indexes which were made or lost since may be overlooked."""

FLAT_ROWS = 1_000_000
"""Rows that words are looked for in without an index, at most: 13 s."""

PLAIN_TEXT = "text"
"""The one column with words of a table that has no full-text columns yet."""


@dataclass(frozen=True, slots=True)
class State:
    """One look at a table."""

    columns: frozenset[str]
    text: Mapping[str, bool]
    """Full-text columns with rows -> whether they have an index."""
    vector_index: bool
    stale: int
    """Live rows whose full-text columns are not filled yet."""
    waiting: int
    """These, and rows that the full-text indexes lack, when they are many: words find them later."""
    names: bool
    """True when the table has the column of folded names."""
    names_index: bool
    rows: int
    """All of them, dead ones too: the number that costs nothing to know."""
    measured: Measured

    @property
    def nprobes(self) -> int:
        return self.measured.nprobes or NPROBES

    @property
    def refine(self) -> int:
        return self.measured.refine or REFINE


class States:
    """The table's state, looked at anew every `LOOK_SECONDS`, beside the questions: none of them waits for it."""

    def __init__(self, reader: Reader, pool: Executor) -> None:
        """Looks for the first time.

        Raises:
            Fatal, TryAgain: the table cannot be read.
        """
        self._reader = reader
        self._pool = pool
        self._lock = threading.Lock()
        self._state = look(reader)
        self._next = time.monotonic() + LOOK_SECONDS

    def now(self) -> State:
        """The last state that was seen."""
        with self._lock:
            state, due = self._state, time.monotonic() >= self._next
            if due:
                self._next = float("inf")
        if due:
            self._pool.submit(self._look)
        return state

    def _look(self) -> None:
        try:
            state = look(self._reader, self._state)
        except CirrostreamError as error:
            state = self._state
            structlog.get_logger().warning("search.state", error=str(error))
        with self._lock:
            self._state, self._next = state, time.monotonic() + LOOK_SECONDS


def look(reader: Reader, before: State | None = None) -> State:
    """The table's state now.

    Raises:
        Fatal, TryAgain: the table cannot be read.
    """
    fence = reader.fence()
    columns = frozenset(reader.read(lambda lance: lance.schema.names))
    indexes = {index.columns[0]: index for index in reader.read(lambda lance: list(lance.list_indices()))}
    rows = reader.read(lambda lance: lance.count_rows())
    text = _text_columns(reader, columns, indexes, rows, before)
    # The writer derives what it writes: when nothing was stale, nothing is.
    may_wait = "derived" in columns and (before is None or before.stale or before.columns != columns)
    stale = reader.read(lambda lance: lance.count_rows(STALE)) if may_wait else 0
    unindexed = max((indexes[name].num_unindexed_rows or 0 for name, has in text.items() if has), default=0)
    return State(
        columns=columns,
        text=text,
        vector_index="vector" in indexes,
        stale=stale,
        waiting=stale + (unindexed if unindexed > TAIL_ROWS else 0),
        names="names" in columns,
        names_index="names" in indexes,
        rows=rows,
        measured=fence.search or Measured(at="", rows=0),
    )


def _text_columns(
    reader: Reader, columns: frozenset[str], indexes: Mapping[str, Any], rows: int, before: State | None
) -> dict[str, bool]:
    """The full-text columns to ask.

    Those without an index are looked at while some may wait for theirs: at first, and as long as one does. Later a new
    language waits for its index.
    """
    there = [name for name in TEXT_COLUMNS if name in columns]
    found = {name: True for name in there if name in indexes}
    if rows <= FLAT_ROWS and (before is None or not all(before.text.values())):
        found |= {name: False for name in there if name not in found and reader.read(_counted(name))}
    if not found and PLAIN_TEXT in columns:
        return {PLAIN_TEXT: PLAIN_TEXT in indexes}
    return found


def _counted(column: str) -> Any:
    return lambda lance: lance.count_rows(f"{LIVE} AND {column} IS NOT NULL")
