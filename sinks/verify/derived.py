"""Derived columns against the columns that they follow from, in rows taken at random."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pyarrow as pa
from lancedb.table import LanceTable

from sinks.derived import FIELDS, RULES, SOURCES, derived_columns
from sinks.reader import Reader
from sinks.rows import STALE, is_live
from sinks.verify.report import Check, Problems

SAMPLE_ROWS = 1_000
"""Rules that go wrong do so in every row of a kind; a single row that somebody has changed is found by chance."""
AT_ONCE = 200

REMEDY = "how to have all made anew: docs/runbook.md, The proof fails"


def derived_check(reader: Reader, rows: int = SAMPLE_ROWS) -> Check:
    """Checks that the derived columns of so many rows are those of today's rules; counts rows that have none yet."""
    names = reader.read(lambda lance: lance.schema.names)
    if not {"derived", *SOURCES}.issubset(names):
        live = reader.live_rows()
        return Problems().check("search columns", f"not there yet: {live:,} rows to be filled by the sink")
    to_fill = reader.read(lambda lance: int(lance.count_rows(STALE)))
    problems = Problems()
    looked_at = 0
    for part in reader.stream(lambda lance: _sample(lance, rows, names)):
        looked_at += part.num_rows
        for row, column in _wrong(part):
            problems.add(f"wrong in {column}", f"{column} of {row} is not what its other columns give")
    remedy = f" ({REMEDY})" if problems.counts else ""
    return problems.check("search columns", f"{looked_at:,} rows taken at random, {to_fill:,} to be filled{remedy}")


def _sample(lance: LanceTable, rows: int, names: list[str]) -> Iterator[pa.Table]:
    total = int(lance.count_rows())
    places = sorted(random.sample(range(total), min(total, rows)))
    ours = [field.name for field in FIELDS if field.name in names]
    for start in range(0, len(places), AT_ONCE):
        taken = lance.take_offsets(places[start : start + AT_ONCE]).select(["id", "start", *SOURCES, *ours]).to_arrow()
        live = [
            is_live(n, begin) and made == RULES
            for n, begin, made in zip(*(taken[name].to_pylist() for name in ("n", "start", "derived")), strict=True)
        ]
        yield taken.filter(pa.array(live, pa.bool_()))


def _wrong(rows: pa.Table) -> Iterator[tuple[str | None, str]]:
    """Id and column of each value that is another."""
    for name, expected in derived_columns(rows.select(SOURCES)).items():
        if name not in rows.column_names:
            continue
        found = rows[name].combine_chunks()
        if found.equals(expected):
            continue
        for place, (is_there, should_be) in enumerate(zip(found.to_pylist(), expected.to_pylist(), strict=True)):
            if is_there != should_be:
                yield rows["id"][place].as_py(), name
