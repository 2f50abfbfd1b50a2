"""`python -m producers.jsonl FILE…`: documents of one's own into `pages`, a JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import msgspec
from pydantic import Field

from pipeline.cli import command, new_app, run
from pipeline.errors import UsageError
from pipeline.rejected import Rejected
from producers.bytes.blocks import PACKINGS, Damaged, PackedFile
from producers.bytes.lines import LINE_TOO_LONG, MAX_LINE_BYTES, NOT_JSON, Line, Position, mend_json, read_lines
from producers.fields.mapping import FieldMapping, RecordPages, field
from producers.fields.settings import MappingSettings
from producers.reader import Entry, Tick, blank_lines, ticking
from producers.run.runner import run_source
from producers.run.shards import FileNames, Shard
from producers.run.source import Source

LINES_LOOKED_AT = 100
FIELDS_SHOWN = 40

_LINES = (".jsonl", ".ndjson")
_SUFFIXES = tuple(plain + packed for plain in (*_LINES, ".json") for packed in PACKINGS)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_LINES_OF = {b"[": "jq -c '.[]'", b"{": "jq -c ."}
"""By what a file begins with that is one array, or objects over several lines: the command that makes lines."""

_value = msgspec.json.Decoder()


def _in_folder(path: Path) -> bool:
    """A `.json` is read when it is named: most of them are one document, and not ours."""
    return any(ending in _LINES for ending in path.suffixes[-2:])


JSONL_NAMES = FileNames("jsonl", "file of JSON lines", _SUFFIXES, in_folder=_in_folder)


class JsonlSettings(MappingSettings):
    """JSON Lines: one object a line."""

    max_line_bytes: int = Field(MAX_LINE_BYTES, ge=1024, description="Longer lines of a dump are skipped, and counted.")


class JsonlReader:
    """One file of records, one a line: file → lines → records → pages."""

    def __init__(self, shard: Shard, settings: JsonlSettings) -> None:
        self._dump = PackedFile(shard.path)
        self._max_line_bytes = settings.max_line_bytes
        self._pages = RecordPages(shard.path, settings.mapping)

    @property
    def bytes_read(self) -> int:
        return self._dump.bytes_read

    def read(self, start: Position, tick: Tick) -> Iterator[Entry]:
        """The entries from `start` on; see `producers.reader.DocumentReader`."""
        for line in read_lines(ticking(self._dump.blocks(), tick), start, self._max_line_bytes):
            yield self._entry(line)

    def _entry(self, line: Line) -> Entry:
        if line.data is None:
            return Entry(line.after, Rejected(LINE_TOO_LONG, damaged=True))
        if not line.data or line.data.isspace():
            return blank_lines(line.after)
        notes: list[str] = []
        record = read_object(line.data, notes)
        if isinstance(record, Rejected):
            return Entry(line.after, record)
        page = self._pages.read(record, notes)
        return Entry(line.after, page, tuple(notes))


def read_object(data: bytes | bytearray, notes: list[str]) -> dict[str, object] | Rejected:
    """The JSON object in a line; what is wrong in it costs its own value, and is added to `notes`."""
    try:
        found = _value.decode(data)
    except _UNREADABLE:
        mended = mend_json(data)
        if mended is None:
            return Rejected(NOT_JSON, damaged=True)
        try:
            found = _value.decode(mended.data)
        except _UNREADABLE:
            return Rejected(NOT_JSON, damaged=True)
        notes.extend(mended.notes)
    return found if isinstance(found, dict) else Rejected("not_an_object", damaged=True)


def check_fields(path: Path, mapping: FieldMapping, max_line_bytes: int) -> None:
    """Looks at the first records before any page is sent: a wrong field name would drop them all.

    Raises:
        UsageError: none of the first records has an id, or none has a text, or the file is JSON that is not one object
            a line.
    """
    lines = list(_first_lines(path, max_line_bytes))
    records = [record for line in lines if not isinstance(record := read_object(line, []), Rejected)]
    begins = lines[0].strip()[:1] if lines else b""
    cut_off = begins == b"{" and len(lines) == 1  # one record, of which a part is there
    if 2 * len(records) < len(lines) and not cut_off and (command := _LINES_OF.get(begins)):
        raise UsageError(f"{path}: JSON, but not a record a line; `{command} FILE > FILE.jsonl` makes that of it")
    if not records:
        return  # whatever this is, each line of it is accounted for
    wanted = {"--id-field": (mapping.id_needed,), "--text-fields": mapping.texts_needed}
    missing = {flag: names for flag, names in wanted.items() if _in_none(records, names)}
    if missing:
        raise UsageError(_missing(path, missing, records))


def _first_lines(path: Path, max_line_bytes: int) -> Iterator[bytes]:
    try:
        for line in islice(read_lines(PackedFile(path).blocks(), max_bytes=max_line_bytes), LINES_LOOKED_AT):
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


def _check(shard: Shard, settings: JsonlSettings) -> None:
    check_fields(shard.path, settings.mapping, settings.max_line_bytes)


SOURCE = Source("jsonl", JSONL_NAMES, JsonlSettings, JsonlReader, _check)

app = new_app("Reads JSON Lines into Kafka.")


@command(app, JsonlSettings)
def jsonl(settings: JsonlSettings) -> int:
    """Sends the records of JSON Lines files (.jsonl, .ndjson, .json; plain, .gz, .bz2) to `pages`, and goes on where it
    was left."""
    return run_source(SOURCE, settings)


if __name__ == "__main__":
    run(app, "producers.jsonl")
