"""A question as every leg gets it, and a row as every leg gives it back. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sinks.languages import language_of
from sinks.reader import Reader
from sinks.search.fusion import Candidate
from sinks.search.state import State

CANDIDATES = 100
"""Chunks of each leg that fusion sees."""

_BRIEF = ("id", "page", "wiki", "language", "n", "start")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as every leg gets it."""

    reader: Reader
    state: State
    where: str | None = None
    limit: int = CANDIDATES

    def columns(self, *more: str) -> list[str]:
        """The columns of a brief row that this table has, and these."""
        return [*(name for name in (*_BRIEF, *more) if name in self.state.columns)]


def candidate_of(row: Row, score: float) -> Candidate:
    """A brief row that a leg has found, with its row id where that was asked for."""
    language = language_of(row.get("language"), row.get("wiki"))
    return Candidate(row["id"], row["page"], language, score, row.get("_rowid", -1))
