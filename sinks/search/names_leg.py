"""The leg of names: pages whose title or alias is the question, exactly or but for a few letters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from lancedb.table import LanceTable
from rapidfuzz import fuzz

from sinks.names import folded
from sinks.search.asked import CANDIDATES, Asked, Row, candidate_of
from sinks.search.fusion import LIKE, Candidate
from sinks.search.legs import words_query
from sinks.search.state import WHOLE_ROWS
from sinks.search.unindexed import rows_with_names
from sinks.storage import quoted

MAX_WORDS = 6
"""Words of a question that may be a misspelt name: a fuzzy query tries each. A name spelt right has any number."""
MISSPELT = 2
"""Words of a name that may be misspelt. Where no name has all others of a question's words no fuzzy query is made: over
a million rows the two of them take two thirds of the leg's processor time."""
ALIAS = 0.98
"""An alias counts a little less than a title: of two pages with this name the one so titled comes first."""
SURE = 0.85
"""Likeness from which on nothing more unlike is looked for."""

_WORD = re.compile(r"\w+")


def names_leg(asked: Asked, question: str) -> list[Candidate]:
    """Pages that the question may name, best first; the chunk is row 0 of each, which alone has names.

    The score is how like the names are, 0 to 1, and 1 more where they are the same.
    """
    name = folded(question)
    if not name:
        return []
    if not asked.state.names_index and asked.state.rows <= WHOLE_ROWS:
        rows = asked.reader.read(partial(rows_with_names, asked, asked.columns("names")))
        return _candidates(asked, name, rows)
    found = _candidates(asked, name, _rows(replace(asked, where=None), name))
    # Most questions are no names, and then a filter, which may take longer than all else, need not be asked.
    return _candidates(asked, name, _rows(asked, name)) if found and asked.where else found


def _candidates(asked: Asked, name: str, rows: Sequence[Row]) -> list[Candidate]:
    unique = {row["id"]: row for row in rows}
    found = [candidate_of(row, like, "") for row in unique.values() if (like := likeness(name, row)) > LIKE]
    return sorted(found, key=lambda candidate: (-candidate.score, candidate.id))[: asked.limit]


def _rows(asked: Asked, name: str) -> list[Row]:
    """Rows with this name, and with names like it."""
    columns = asked.columns("names")
    exact = f"name = {quoted(name)}"
    condition = f"{exact} AND ({asked.where})" if asked.where else exact
    return asked.reader.read(lambda lance: _found(lance, condition, columns)) + _like(asked, name, columns)


def _like(asked: Asked, name: str, columns: Sequence[str]) -> list[Row]:
    """Rows with a name of these words; with words like them only when none is the same."""
    words = set(_WORD.findall(name))
    rows: list[Row] = []
    for fuzziness in (0, 1, 2) if len(name.split()) <= MAX_WORDS else (0,):
        rows += asked.reader.read(partial(_named, asked, name, fuzziness, columns))
        if max((likeness(name, row) for row in rows), default=0.0) >= (SURE if fuzziness else 1):
            break
        if max((_shared(words, row) for row in rows), default=0) < len(words) - MISSPELT:
            break
    return rows


def _shared(words: set[str], row: Row) -> int:
    """Words that one name of the row has of these, at most."""
    return max(len(words.intersection(_WORD.findall(line))) for line in (row["names"] or "").split("\n"))


def _found(lance: LanceTable, condition: str, columns: Sequence[str]) -> list[Row]:
    rows: list[Row] = lance.search().where(condition).select(list(columns)).limit(CANDIDATES).to_arrow().to_pylist()
    return rows


def _named(asked: Asked, name: str, fuzziness: int, columns: Sequence[str], lance: LanceTable) -> list[Row]:
    query = words_query(lance, asked, name, "names", fuzziness)
    rows: list[Row] = query.select([*columns, "_score"]).to_arrow().to_pylist()
    return rows


def likeness(name: str, row: Mapping[str, Any]) -> float:
    """The likeness of a folded name to the names of a page: the share of letters that stay in place, 1 more for all."""
    title, *aliases = (row.get("names") or "").split("\n")
    if name == title:
        return 2.0
    best = fuzz.ratio(name, title) / 100 if title else 0.0
    for alias in aliases:
        best = max(best, ALIAS * (2.0 if alias == name else fuzz.ratio(name, alias) / 100))
    return best
