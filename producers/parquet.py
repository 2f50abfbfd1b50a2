"""`python -m producers.parquet FILE…`: the rows of Parquet files into `pages`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pipeline.cli import command, new_app, run
from pipeline.errors import UsageError
from producers.bytes.blocks import Damaged
from producers.bytes.lines import Position
from producers.fields.mapping import RecordPages, fields_of_folders
from producers.fields.parquet_rows import ParquetRows, Row
from producers.fields.settings import MappingSettings
from producers.reader import Entry, Tick
from producers.run.runner import run_source
from producers.run.shards import FileNames, Shard
from producers.run.source import Source

PARQUET_NAMES = FileNames("parquet", "Parquet file", (".parquet",))
OPTIONAL = ("title_field", "url_field", "language_field", "timestamp_field", "categories_field")
COLUMNS_SHOWN = 40


class ParquetReader:
    """One file: file → rows → pages. Its rows are what other files' lines are."""

    def __init__(self, shard: Shard, settings: MappingSettings) -> None:
        self.bytes_read = 0
        self._rows = ParquetRows(shard.path, settings.mapping.skip_fields)
        self._size = shard.size
        self._pages = RecordPages(shard.path, settings.mapping)

    def read(self, start: Position, tick: Tick) -> Iterator[Entry]:
        """The rows from `start` on; see `producers.reader.DocumentReader`."""
        count = self._rows.count
        for number, row in enumerate(self._rows.read(start.line), start.line + 1):
            # Nobody knows how far into a file Arrow has looked: as if all rows were of one size.
            self.bytes_read = self._size * number // count
            yield self._entry(row, Position(number))
            tick()

    def _entry(self, row: Row, after: Position) -> Entry:
        notes: list[str] = []
        page = self._pages.read(row.record, notes)
        return Entry(after, page, (*notes, *["unreadable_value"] * row.unreadable))


def check_columns(path: Path, settings: MappingSettings) -> None:
    """Looks at a file's columns before any page of it is sent: a wrong name would drop them all.

    Raises:
        UsageError: a column is not there, or an id or a text is of a wrong type.
    """
    try:
        schema = ParquetRows(path).schema
    except Damaged:
        return  # said when it is read, like every damage
    mapping, named_by_folders = settings.mapping, fields_of_folders(path)
    if not _is_id(kind := _needed(path, schema, mapping.id_needed, "--id-field")):
        raise UsageError(f"{path}: column {mapping.id_needed} holds {kind}, no id: name another with --id-field")
    for name in mapping.texts_needed:
        if not _is_text(kind := _needed(path, schema, name, "--text-fields")):
            raise UsageError(f"{path}: column {name} holds {kind}, no text: name others with --text-fields")
    if mapping.reshaping:
        return
    for setting in OPTIONAL:
        name = getattr(settings, setting)
        if name and name not in named_by_folders and name != type(settings).model_fields[setting].default:
            _needed(path, schema, name, f"--{setting.replace('_', '-')}")


def _needed(path: Path, schema: pa.Schema, name: str, flag: str) -> pa.DataType:
    kind = _column(schema, name)
    if kind is None:
        there = list(_names(schema))
        shown = ", ".join(there[:COLUMNS_SHOWN]) + (", …" if len(there) > COLUMNS_SHOWN else "")
        raise UsageError(f"{path}: no column {name}; there are {shown or 'none'}: name one with {flag}")
    return kind


def _names(fields: pa.Schema | pa.StructType) -> Iterator[str]:
    for field in fields:
        if pa.types.is_struct(field.type):
            yield from (f"{field.name}.{inner.name}" for inner in field.type)
        else:
            yield field.name


def _column(fields: pa.Schema | pa.StructType, name: str) -> pa.DataType | None:
    """The type of the column, or of the field of a struct, that this name means; see `fields.mapping.field`."""
    kinds = {field.name: field.type for field in fields}
    if name in kinds:
        return kinds[name]
    outer, dot, inner = name.partition(".")
    nested = kinds.get(outer) if dot else None
    return _column(nested, inner) if nested is not None and pa.types.is_struct(nested) else None


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_id(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind)) or _is_text(kind)


def _check(shard: Shard, settings: MappingSettings) -> None:
    check_columns(shard.path, settings)


SOURCE = Source("parquet", PARQUET_NAMES, MappingSettings, ParquetReader, _check)

app = new_app("Reads Parquet files into Kafka.")


@command(app, MappingSettings)
def parquet(settings: MappingSettings) -> int:
    """Sends the rows of Parquet files to `pages`, and goes on where it was left."""
    return run_source(SOURCE, settings)


if __name__ == "__main__":
    run(app, "producers.parquet")
