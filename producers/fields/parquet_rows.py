"""A Parquet file as rows, a few megabytes at a time, from any row on.

A data page of each column must be in memory at once, as large as its writer made it: usually 1 MiB.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import one_line
from producers.bytes.blocks import Damaged, WrongKind
from producers.bytes.kinds import HEAD_BYTES, mismatch
from producers.fields.mapping import Record

BATCH_BYTES = 4 * 1024 * 1024
MAX_BATCH_ROWS = 16
"""A text that all rows of a group share is written once, and is there once a row when it is read: a file of 3 kB took
1.5 GB with 1,024. Fewer rows at once cost no time."""
BUFFER_BYTES = 1024 * 1024
"""Of a column, read at once: without it all of a row group's column is."""

MAGIC = b"PAR1"

_BROKEN = (pa.ArrowException, OSError, ValueError)


class Row(NamedTuple):
    """One row; `unreadable` is how many of its values are null because they could not be read."""

    record: Record
    unreadable: int


class ParquetRows:
    """Reads one file. Dates and times come as ISO 8601 strings, since a Parquet date may be outside Python's."""

    def __init__(self, path: Path, skip_fields: tuple[str, ...] = ()) -> None:
        self.path = path
        self._skip = frozenset(skip_fields)
        self._file: pq.ParquetFile | None = None

    @property
    def schema(self) -> pa.Schema:
        """Raises Damaged when there is none to be read."""
        return self._open().schema_arrow

    @property
    def count(self) -> int:
        return int(self._open().metadata.num_rows)

    def read(self, start: int = 0) -> Iterator[Row]:
        """The rows from number `start` on.

        Raises:
            Damaged: the file cannot be read further.
        """
        file = self._open()
        columns = [name for name in dict.fromkeys(file.schema_arrow.names) if name not in self._skip]
        end = 0
        for group in range(file.metadata.num_row_groups):
            about = file.metadata.row_group(group)
            first, end = end, end + about.num_rows
            if start < end:
                size = _batch_rows(about.total_byte_size, about.num_rows)
                yield from self._group(file, group, columns, size, max(0, start - first))

    def _group(self, file: pq.ParquetFile, group: int, columns: list[str], size: int, skip: int) -> Iterator[Row]:
        try:
            for batch in file.iter_batches(size, row_groups=[group], columns=columns, use_threads=False):
                if skip < batch.num_rows:
                    yield from _rows(batch.slice(skip))
                skip = max(0, skip - batch.num_rows)
        except _BROKEN as error:
            raise self._damaged(error) from error

    def _open(self) -> pq.ParquetFile:
        if self._file is None:
            try:
                self._file = pq.ParquetFile(self.path, buffer_size=BUFFER_BYTES, pre_buffer=False)
            except _BROKEN as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # not there, or not ours to read
                raise self._damaged(error) from error
        return self._file

    def _damaged(self, error: Exception) -> Damaged:
        with self.path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            if wrong := mismatch(self.path.name, head):
                return WrongKind(wrong)
            begins = head.startswith(MAGIC)
            size = file.seek(0, 2)
            file.seek(max(0, size - len(MAGIC)))
            ends = file.read() == MAGIC
        reason = one_line(error)
        return Damaged("cut off" if begins and not ends else "corrupt", size, reason)


def _batch_rows(group_bytes: int, rows: int) -> int:
    return max(1, min(MAX_BATCH_ROWS, BATCH_BYTES * rows // max(1, group_bytes)))


def _rows(batch: pa.RecordBatch) -> Iterator[Row]:
    names = batch.schema.names
    columns = [_values(_without_dates(column)) for column in batch.columns]
    for values in zip(*columns, strict=True):
        record = {name: None if value is _UNREADABLE else value for name, value in zip(names, values, strict=True)}
        yield Row(record, sum(value is _UNREADABLE for value in values))


_UNREADABLE = object()


def _without_dates(column: pa.Array) -> pa.Array:
    if not (pa.types.is_temporal(column.type) or pa.types.is_decimal(column.type)):
        return column
    try:
        return column.cast(pa.string())
    except pa.ArrowException:
        return column


def _values(column: pa.Array) -> list[object]:
    """The column as Python's values: at once if it can be, else one by one, to lose none but the bad ones."""
    try:
        values: list[object] = column.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError, LookupError):
        return [_value(cell) for cell in column]
    return values


def _value(cell: pa.Scalar) -> object:
    try:
        return cell.as_py()
    except UnicodeDecodeError:
        text = cell.cast(pa.binary()).as_py() if pa.types.is_string(cell.type) else None
        return _UNREADABLE if text is None else text.decode("utf-8", "replace")
    except (pa.ArrowException, ValueError, OverflowError, LookupError):
        return _UNREADABLE
