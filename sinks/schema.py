"""A table's columns against ours: who opens a table compares them first, for its user may have changed them. Pure.

Anybody may add columns: a writer keeps them, and has nulls in them in every row that it writes, one that it replaces
included, for a note on a text is not one on the next. So a release may add columns of its own, too, and the release
before it goes on with such a table. A describing column that is missing (`title`, `url`, `categories` …), for an older
release made the table or its user dropped it, is added by the writer, empty; without one that makes a row what it is
there is nothing to go on with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from pipeline.errors import Fatal, UsageError
from sinks.rows import VectorRule, table_schema

_CHUNK = ("id", "page", "n", "n_chunks", "source", "partition", "text", "start", "end", "vector")
NEEDED = (*_CHUNK, "stamp", "expected", "fence")
"""Columns that make a row what it is; all others describe its page. Another program's table lacks most of them."""

ALWAYS_THERE = ("id", "page", "n")
"""Never null, so it does no harm when a user has declared them so."""

_RESTORE = (
    "Go back to the version before the change, in Python: t = lancedb.connect(URI).open_table(NAME); "
    "t.checkout(VERSION); t.restore()"
)

_VECTOR_TYPES = {pa.float32(): "f32", pa.float16(): "f16"}


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that are not as in a table of our making."""

    missing: tuple[pa.Field, ...]
    """Describing columns that the table lacks."""
    extra: tuple[str, ...]
    """Columns of somebody else, or of a newer release."""


def checked(schema: pa.Schema, table: str, rule: VectorRule | None = None) -> Columns:
    """The differences that can be lived with.

    Args:
        rule: of the vectors; None: whatever the table's own are.

    Raises:
        UsageError: the table is another program's.
        Fatal: columns are missing, of another type, or refuse nulls; it says which, and what to do.
    """
    _refuse_foreign(schema, table)
    ours = table_schema(rule or _rule_of(schema, table))
    missing = tuple(field for field in ours if field.name not in schema.names)
    faults = [f"{field.name} is missing" for field in missing if field.name in NEEDED]
    faults += [
        f"{field.name} is {schema.field(field.name).type} instead of {field.type}"
        for field in ours
        if field not in missing and schema.field(field.name).type != field.type
    ]
    strict = [field.name for field in schema if not field.nullable and field.name not in ALWAYS_THERE]
    if faults or strict:
        remedy = _RESTORE if faults else _allow_nulls(strict)
        said = [*faults, *(f"{name} takes no nulls" for name in strict)]
        raise Fatal(f"table {table} cannot be used as its columns are: {'; '.join(said)}. {remedy}")
    return Columns(missing, tuple(name for name in schema.names if name not in ours.names))


def conformed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows of ours with the columns of a table, in its order: nulls in those of somebody else."""
    there = set(rows.column_names)
    columns = [rows[f.name] if f.name in there else pa.nulls(rows.num_rows, f.type) for f in schema]
    return pa.table(columns, schema=schema)


def _refuse_foreign(schema: pa.Schema, table: str) -> None:
    lacking = [name for name in NEEDED if name not in schema.names]
    if len(lacking) > len(NEEDED) / 2:
        raise UsageError(
            f"table {table} is another program's: it has the columns {shortened(schema.names)}, and none of the name "
            f"{shortened(lacking)}; choose another name for ours (--table, CIRROSTREAM_TABLE)"
        )


def _rule_of(schema: pa.Schema, table: str) -> VectorRule:
    """The rule that the table's own vectors follow, as far as its columns tell."""
    kind = schema.field("vector").type if "vector" in schema.names else None
    if kind is None:
        return VectorRule(1)  # told as missing
    if not pa.types.is_fixed_size_list(kind) or kind.value_type not in _VECTOR_TYPES:
        raise Fatal(f"table {table} cannot be used as its columns are: vector is {kind}. {_RESTORE}")
    return VectorRule(kind.list_size, _VECTOR_TYPES[kind.value_type])  # type: ignore[arg-type]


def _allow_nulls(names: Iterable[str]) -> str:
    changes = ", ".join(repr({"path": name, "nullable": True}) for name in names)
    return (
        "Rows that the writer makes have nothing there. Allow that, in Python: "
        f"lancedb.connect(URI).open_table(NAME).alter_columns({changes})"
    )


def shortened(names: Iterable[str]) -> str:
    """The first five names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
