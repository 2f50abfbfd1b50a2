"""The state of a table as far as searches depend on it: its columns, its indexes, its measurements."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

import structlog

from pipeline.errors import CirrostreamError
from sinks.indexes import TAIL_ROWS
from sinks.languages import ICU, TEXT_COLUMNS
from sinks.measured import Measured
from sinks.reader import Reader
from sinks.rows import STALE
from sinks.table_indexes import found_indexes, texts_with_rows

NPROBES = 20
REFINE = 2
"""Until upkeep has measured. IVF_RQ over a million made-up vectors, 100 candidates: recall@10 0.999; 50 and 10 take
four times as long."""

LOOK_SECONDS = 10.0
"""Longest that indexes which were made or lost since may be overlooked."""

FLAT_ROWS = 1_000_000
"""Rows that words are looked for in without an index, at most: 13 s."""

WHOLE_ROWS = 100_000
"""Rows that are read whole for what LanceDB cannot find without an index: scripts without blanks, misspelt names."""


PLAIN_TEXT = "text"
"""The one column with words of a table that has no full-text columns yet."""


def flat_rows(column: str) -> int:
    """Rows of a table up to which this full-text column is asked without an index."""
    return WHOLE_ROWS if column == ICU else FLAT_ROWS


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
    def asked(self) -> tuple[str, ...]:
        """Full-text columns that are asked: those with an index, and while there are few rows the others, too."""
        return tuple(name for name, indexed in self.text.items() if indexed or self.rows <= flat_rows(name))

    @property
    def unasked(self) -> tuple[str, ...]:
        """Full-text columns that are not, until they have their index."""
        return tuple(name for name in self.text if name not in self.asked)

    @property
    def weighs_by_language(self) -> bool:
        """True when the legs' weights are not the same in all languages."""
        return len({(one.vector, one.text) for one in self.measured.weights.values()}) > 1

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
        state = self._state
        try:
            state = look(self._reader, state)
        except CirrostreamError as error:
            structlog.get_logger().warning("search.state", error=str(error))
        finally:
            with self._lock:
                self._state, self._next = state, time.monotonic() + LOOK_SECONDS


def look(reader: Reader, before: State | None = None, *, words: bool = True) -> State:
    """The table's state now.

    Args:
        before: what was seen last; spares counting the rows without full-text columns.
        words: False leaves out all that only a search by words asks for, and that takes reading rows.

    Raises:
        Fatal, TryAgain: the table cannot be read.
    """
    fence = reader.fence()
    columns = frozenset(reader.read(lambda lance: lance.schema.names))
    indexes = {index.column: index for index in reader.read(found_indexes)}
    rows = reader.read(lambda lance: lance.count_rows())
    text = _text_columns(reader, columns, indexes) if words else {}
    # The writer derives what it writes: when nothing was stale, nothing is.
    may_wait = words and "derived" in columns and (before is None or before.stale or before.columns != columns)
    stale = reader.read(lambda lance: lance.count_rows(STALE)) if may_wait else 0
    unindexed = max((indexes[name].unindexed for name, has in text.items() if has), default=0)
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


def _text_columns(reader: Reader, columns: frozenset[str], indexes: Collection[str]) -> dict[str, bool]:
    """The full-text columns with rows -> whether they have an index; the plain texts where there are none."""
    there = reader.read(lambda lance: texts_with_rows(lance, indexes))
    found = {name: name in indexes for name in TEXT_COLUMNS if name in there}
    if not found and PLAIN_TEXT in columns:
        return {PLAIN_TEXT: PLAIN_TEXT in indexes}
    return found
