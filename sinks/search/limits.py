"""Limits of an answer, in words: what a table cannot be asked, legs that add nothing, rows not found yet. Pure."""

from __future__ import annotations

from collections.abc import Container

from pipeline.errors import UsageError
from sinks.search.answers import Mode
from sinks.search.filters import Filters
from sinks.search.fusion import Leg
from sinks.search.state import WHOLE_ROWS, State


def useless_because(leg: Leg, state: State, *, loaded: bool) -> str:
    """The reason why this leg can add nothing; "": it can.

    Args:
        loaded: the model is there.
    """
    if leg == "vector":
        return "" if loaded else "the model is not loaded"
    if leg == "names":
        return "" if state.names else "the table has no column of names yet: sinks.lance makes it"
    if not state.asked:
        return f"{state.rows} rows have no full-text index yet: sinks.lance makes it"
    return ""


def condition_in(state: State, filters: Filters, table: str) -> str | None:
    """The filters' condition on this table.

    Raises:
        UsageError: the table lacks a column that they need, or a value is not of its field's kind.
    """
    for column in filters.columns():
        if column not in state.columns:
            raise UsageError(
                f"table {table} has no column {column}, which a filter needs: it was made by an older version; "
                "sinks.lance adds the column when it is started with this table"
            )
    return filters.condition()


def limits_of(state: State, mode: Mode, found: Container[Leg], filters: Filters) -> list[str]:
    """Sentences on what an answer from this state may lack.

    Args:
        found: the legs that answered.
    """
    notes = []
    if state.waiting and mode != "vector":
        notes.append(f"{state.waiting} rows are not in the full-text index yet: words do not find them")
    if state.unasked and state.asked and mode != "vector":
        notes.append(f"{', '.join(state.unasked)}: no full-text index yet, words do not find what is there")
    if state.names and not state.names_index and state.rows > WHOLE_ROWS and mode != "vector":
        notes.append("names have no full-text index yet: misspelt ones and aliases are not found")
    if state.stale and filters.metadata:
        notes.append(f"the metadata of {state.stale} rows is not made ready yet: no filter on it finds them")
    if mode == "hybrid" and not state.measured.weights and "vector" in found and "text" in found:
        notes.append("the legs' weights were not measured on this table yet: they count alike")
    return notes
