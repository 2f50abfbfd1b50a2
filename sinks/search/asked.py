"""A question as every leg gets it, and a row as every leg gives it back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sinks.languages import language_of
from sinks.reader import Reader
from sinks.rows import LIVE
from sinks.search.fusion import Candidate
from sinks.search.state import State
from sinks.table_indexes import found_indexes

CANDIDATES = 100
"""Chunks of each leg that fusion sees."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as every leg gets it."""

    reader: Reader
    state: State
    where: str | None = None
    limit: int = CANDIDATES
    languages: bool = False
    """True: each candidate's language is asked for, because fusion weighs the legs by it."""
    unindexed: Mapping[str, int] = field(default_factory=dict)
    """Column with an index -> rows that it lacks (`unindexed_rows`)."""
    only_live: bool = False
    """True: `where` has a condition against rows that are not live."""

    def columns(self, *more: str) -> list[str]:
        """The columns of a brief row that this table has, and these. Each takes 1 to 2 ms for 100 rows of a million."""
        wanted = ("id", *(("language",) if self.languages else ()), *more)
        return [name for name in wanted if name in self.state.columns]

    def of_live_rows(self) -> Asked:
        """The same with a condition against rows that are not live."""
        return replace(self, where=f"{LIVE} AND ({self.where})" if self.where else LIVE, only_live=True)


def unindexed_rows(reader: Reader) -> dict[str, int]:
    """Column with an index -> rows that it lacks now; takes 0.4 ms."""
    return {index.column: index.unindexed for index in reader.read(found_indexes)}


def candidate_of(row: Row, score: float, language: str | None = None) -> Candidate:
    """A brief row that a leg has found, with its row id where that was asked for.

    Its page and wiki are told by its id, as the writer makes it.

    Args:
        language: `languages.language_of`, where the leg knows it; None: as the row has it.
    """
    page = row["id"].rpartition("#")[0] or row["id"]
    if language is None:
        language = language_of(row.get("language"), page.partition(":")[0])
    return Candidate(row["id"], page, language, score, row.get("_rowid", -1))
