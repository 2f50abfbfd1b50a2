"""Words and names in a table whose indexes are not made yet: by reading every row, while there are few.

LanceDB finds words without an index, but not the words of scripts without blanks, nor names but for a letter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lancedb.table import LanceTable

from sinks.languages import ICU
from sinks.search.asked import Asked, Row
from sinks.storage import quoted

MOST_PIECES = 40
_WORD = re.compile(r"\w+")


def rows_with_pieces(asked: Asked, words: str, lance: LanceTable) -> list[Row]:
    """Rows of the column for scripts without blanks, by how many of the question's pairs of letters they have."""
    pieces = pairs(words)
    if not pieces:
        return []
    condition = " OR ".join(f"contains({ICU}, {quoted(piece)})" for piece in pieces)
    condition = f"({condition}) AND ({asked.where})" if asked.where else condition
    rows: list[Row] = lance.search().where(condition).select(asked.columns(ICU)).to_arrow().to_pylist()
    for row in rows:
        text = row.pop(ICU) or ""
        row["_score"] = float(sum(piece in text for piece in pieces))
    return sorted(rows, key=lambda row: -row["_score"])[: asked.limit]


def pairs(words: str) -> list[str]:
    """Pairs of neighbouring letters, and single letters that stand alone; none twice, the first `MOST_PIECES`."""
    found: dict[str, None] = {}
    for word in _WORD.findall(words):
        for place in range(max(1, len(word) - 1)):
            found[word[place : place + 2]] = None
            if len(found) == MOST_PIECES:
                return list(found)
    return list(found)


def rows_with_names(asked: Asked, columns: Sequence[str], lance: LanceTable) -> list[Row]:
    """All rows with names."""
    condition = f"name IS NOT NULL AND ({asked.where})" if asked.where else "name IS NOT NULL"
    rows: list[Row] = lance.search().where(condition).select(list(columns)).to_arrow().to_pylist()
    return rows
