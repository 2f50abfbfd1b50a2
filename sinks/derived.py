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
import pyarrow.compute as pc

from sinks.languages import TEXT_COLUMNS, language_of, text_columns
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


def derived_columns(rows: pa.Table) -> dict[str, pa.Array]:
    """The derived columns of live rows, by name. 10,000 rows of 900 characters take 30 ms, Chinese ones 120.

    Args:
        rows: with the columns `SOURCES`.
    """
    given = {name: _one(rows[name]) for name in SOURCES}
    titles = given["title"].fill_null("")
    found = _text_columns(given["text"], titles, given["language"], given["wiki"])
    found |= _names(given["n"], titles, given["aliases"])
    found["facets"] = _facet_column(given["metadata"])
    found["derived"] = pa.array(np.full(rows.num_rows, RULES, np.int32))
    return found


def _text_columns(texts: pa.Array, titles: pa.Array, language: pa.Array, wiki: pa.Array) -> dict[str, pa.Array]:
    pairs = pc.binary_join_element_wise(language.fill_null(""), wiki.fill_null(""), "\n").dictionary_encode()
    codes = [language_of(*pair.rsplit("\n", 1)) for pair in pairs.dictionary.to_pylist()]
    columns = np.array(text_columns(codes, pairs.indices, texts), object)
    whole = pc.binary_join_element_wise(titles, texts, "\n")
    found: dict[str, pa.Array] = {}
    for name in TEXT_COLUMNS:
        mine = columns == name
        if mine.all() and len(mine):
            found[name] = whole
        elif mine.any():
            found[name] = pc.if_else(pa.array(mine), whole, pa.scalar(None, pa.string()))
        else:
            found[name] = pa.nulls(len(texts), pa.string())
    return found


def _names(numbers: pa.Array, titles: pa.Array, aliases: pa.Array) -> dict[str, pa.Array]:
    first = np.flatnonzero(numbers.to_numpy(zero_copy_only=False) == 0)
    place = np.full(len(numbers), -1)
    place[first] = np.arange(len(first))
    where = pa.array(place, mask=place < 0)
    own, others = titles.take(first).to_pylist(), aliases.take(first).to_pylist()
    name = [folded(title) or None for title in own]
    names = [folded_names(title, more or ()) or None for title, more in zip(own, others, strict=True)]
    return {key: pa.array(each, pa.string()).take(where) for key, each in (("name", name), ("names", names))}


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


def _facet_column(metadata: pa.Array) -> pa.Array:
    texts = metadata.fill_null("").dictionary_encode()
    made = [facets_of(text) for text in texts.dictionary.to_pylist()]
    return pa.array(made, pa.list_(pa.string())).take(texts.indices)


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
