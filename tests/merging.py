"""A stand-in for LanceDB's merge: what becomes of a writer when one fails, lies, or comes too late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.library_errors import LibraryError, library_errors
from sinks.merge import Way
from sinks.table import Table


class Merging:
    """Stands in for LanceDB's merge: does what each test says, then or instead of the real one."""

    def __init__(self, table: Table, act: Callable[[Callable[[Any], object], Any, int], None]) -> None:
        self._table, self._act, self.calls = table, act, 0
        self._real = table._merger._attempt
        table._merger._attempt = self  # type: ignore[method-assign, assignment]
        table._merger.pause = lambda _: None

    def __call__(self, rows: Any, fence: Any, way: Way) -> LibraryError | None:
        self.calls += 1
        try:
            with library_errors():
                self._act(lambda both: self._real(*both, way), (rows, fence), self.calls)
        except LibraryError as error:
            return error
        return None
