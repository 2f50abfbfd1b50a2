"""Derived columns: what a search needs of a row besides what its page says. Pure.

They follow from the row's other columns alone, so a table that lacks them, or has those of older rules, is filled by
its writer's upkeep, and nothing is lost with them.

- A full-text column a language (`languages.TEXT_COLUMNS`): title and text of the chunk in the one of its language.
- `name` and `names`, in row n = 0 alone: the page's title, and all its names one a line, folded (`names.folded`).
- `facets`: `key=value` of the metadata's plain fields, for filters.
- `derived`: the number of the rules that made them; null: not made yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from sinks.languages import TEXT_COLUMNS, language_of, text_column
from sinks.names import folded, folded_names

RULES = 1
"""Raised whenever a rule here, in `languages` or in `names` changes: upkeep then makes the columns anew."""

MAX_FACETS = 100
MAX_FACET = 200
"""Facets of a page, and characters of one; what is beyond cannot be filtered by."""

SOURCES = ("n", "text", "title", "aliases", "language", "wiki", "metadata")
"""The columns that the derived ones follow from."""

FIELDS: tuple[pa.Field, ...] = (
    *(pa.field(name, pa.string()) for name in TEXT_COLUMNS),
    pa.field("name", pa.string()),
    pa.field("names", pa.string()),
    pa.field("facets", pa.list_(pa.string())),
    pa.field("derived", pa.int32()),
)
"""The derived columns, as a table has them."""

STALE = f"n >= 0 AND start IS NOT NULL AND (derived IS NULL OR derived < {RULES})"
"""Live rows whose derived columns are to be made, as a condition."""


def derived_columns(rows: pa.Table) -> dict[str, pa.Array]:
    """The derived columns of live rows, by name.

    Args:
        rows: with the columns `SOURCES`; `text` is never null.
    """
    values = {name: rows[name].to_pylist() for name in ("n", "text", "title", "language", "wiki")}
    count = rows.num_rows
    languages: dict[tuple[str | None, str | None], str] = {}
    columns = np.empty(count, object)
    titles = [title or "" for title in values["title"]]
    for row, (text, language, wiki) in enumerate(zip(values["text"], values["language"], values["wiki"], strict=True)):
        asked = (language, wiki)
        if asked not in languages:
            languages[asked] = language_of(language, wiki)
        columns[row] = text_column(languages[asked], text)
    texts = np.array([f"{title}\n{text}" for title, text in zip(titles, values["text"], strict=True)], object)
    found: dict[str, pa.Array] = {}
    for name in TEXT_COLUMNS:
        mine = columns == name
        found[name] = pa.array(np.where(mine, texts, None), pa.string()) if mine.any() else pa.nulls(count, pa.string())
    first = [row for row, number in enumerate(values["n"]) if number == 0]
    aliases = dict(zip(first, rows["aliases"].take(first).to_pylist() if first else [], strict=True))
    name_of: list[str | None] = [None] * count
    names_of: list[str | None] = [None] * count
    for row in first:
        name_of[row] = folded(titles[row]) or None
        names_of[row] = folded_names(titles[row], aliases[row] or ()) or None
    found["name"] = pa.array(name_of, pa.string())
    found["names"] = pa.array(names_of, pa.string())
    found["facets"] = _facet_column(rows["metadata"].to_pylist())
    found["derived"] = pa.array(np.full(count, RULES, np.int32))
    return found


def facet(key: str, value: object) -> str | None:
    """A plain field of the metadata as a facet; None when it is none: empty, nested, or too long."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        text = str(int(value))  # a 3.0 of Parquet is a 3 of JSON
    elif isinstance(value, (str, int, float)):
        text = str(value)
    else:
        return None
    made = f"{key}={text}"
    return made if text and len(made) <= MAX_FACET else None


def facets_of(metadata: str | None) -> list[str] | None:
    """The facets of a page's metadata, a JSON object; None when there are none. Each value of a list is one."""
    if not metadata:
        return None
    try:
        fields = json.loads(metadata)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    made = dict.fromkeys(found for key, value in fields.items() for found in _facets(key, value))
    return list(made)[:MAX_FACETS] or None


def _facets(key: str, value: object) -> Iterator[str]:
    for one in value if isinstance(value, list) else (value,):
        if (made := facet(key, one)) is not None:
            yield made


def _facet_column(metadata: list[str | None]) -> pa.Array:
    known: dict[str | None, list[str] | None] = {}
    for text in metadata:
        if text not in known:
            known[text] = facets_of(text)
    return pa.array([known[text] for text in metadata], pa.list_(pa.string()))
