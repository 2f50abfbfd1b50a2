"""Looks at the first records of a file before any page of it is sent: a wrong field name would drop them all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from pipeline.errors import UsageError
from producers.bytes.blocks import Damaged, DumpFile
from producers.bytes.lines import read_lines
from producers.records.field_mapping import FieldMapping, field
from producers.records.jsonl_reader import read_object
from producers.wikimedia.fields import Malformed

LINES_LOOKED_AT = 100
FIELDS_SHOWN = 40

_LINES_OF = {b"[": "jq -c '.[]'", b"{": "jq -c ."}
"""By what a file begins with that is one array, or objects over several lines: the command that makes lines."""


def check_fields(path: Path, mapping: FieldMapping, max_line_bytes: int) -> None:
    """Raises UsageError when none of the first records has an id or none has a text, and when the file is JSON
    that is not one object a line."""
    lines = list(_first_lines(path, max_line_bytes))
    records = [record for line in lines if not isinstance(record := read_object(line, []), Malformed)]
    if lines and 2 * len(records) < len(lines) and (command := _LINES_OF.get(lines[0].strip()[:1])):
        raise UsageError(f"{path}: JSON, but not a record a line; `{command} FILE > FILE.jsonl` makes that of it")
    if not records:
        return  # whatever this is, each line of it is accounted for
    wanted = {"--id-field": (mapping.id_needed,), "--text-fields": mapping.texts_needed}
    missing = {flag: names for flag, names in wanted.items() if _in_none(records, names)}
    if missing:
        raise UsageError(_missing(path, missing, records))


def _first_lines(path: Path, max_line_bytes: int) -> Iterator[bytes]:
    try:
        for line in islice(read_lines(DumpFile(path).blocks(), max_bytes=max_line_bytes), LINES_LOOKED_AT):
            if line.data is not None and line.data.strip():
                yield bytes(line.data)
    except (Damaged, OSError):
        return  # said when it is read, with what could be read of it


def _in_none(records: list[dict[str, object]], names: tuple[str, ...]) -> bool:
    return all(field(record, name) is None for record in records for name in names)


def _missing(path: Path, missing: Mapping[str, tuple[str, ...]], records: list[dict[str, object]]) -> str:
    there = dict.fromkeys(name for record in records for name in _names(record))
    shown = ", ".join(islice(there, FIELDS_SHOWN)) + (", …" if len(there) > FIELDS_SHOWN else "")
    named = " and no ".join(" or ".join(names) for names in missing.values())
    flags = " and ".join(missing)
    first = f"its first {len(records)} records; they have {shown or 'no fields'}"
    return f"{path}: no {named} in {first}: choose with {flags}"


def _names(record: Mapping[str, object]) -> Iterator[str]:
    """Of the fields, and of those of the objects in them, as they are given to flags."""
    for name, value in record.items():
        short = str(name)[:100]
        if isinstance(value, Mapping) and value:
            yield from (f"{short}.{str(inner)[:100]}" for inner in value)
        else:
            yield short
