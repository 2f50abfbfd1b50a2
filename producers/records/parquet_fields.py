"""Looks at a file's columns before any page of it is sent: a wrong name would drop them all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pipeline.errors import UsageError
from producers.bytes.blocks import Damaged
from producers.records.mapping_settings import MappingSettings
from producers.records.parquet_rows import ParquetRows

OPTIONAL = ("title_field", "url_field", "language_field", "timestamp_field", "categories_field")
COLUMNS_SHOWN = 40


def check_columns(path: Path, settings: MappingSettings) -> None:
    """Raises UsageError for a column that is not there, and for an id or a text of a wrong type."""
    try:
        schema = ParquetRows(path).schema
    except Damaged:
        return  # said when it is read, like every damage
    mapping = settings.mapping
    if not _is_id(kind := _needed(path, schema, mapping.id_needed, "--id-field")):
        raise UsageError(f"{path}: column {mapping.id_needed} holds {kind}, no id: name another with --id-field")
    for name in mapping.texts_needed:
        if not _is_text(kind := _needed(path, schema, name, "--text-fields")):
            raise UsageError(f"{path}: column {name} holds {kind}, no text: name others with --text-fields")
    if mapping.reshaping:
        return
    for setting in OPTIONAL:
        name = getattr(settings, setting)
        if name and name != type(settings).model_fields[setting].default:
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
    """The type of the column, or of the field of a struct, that this name means; see `field_mapping.field`."""
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
    return bool(pa.types.is_integer(kind)) or _is_text(kind)
