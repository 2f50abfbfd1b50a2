"""One page against its rows: number, version, text and spans. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.settings import Unit


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row of the table, live or dead, as far as the proof needs it."""

    n: int
    n_chunks: int
    source: int
    start: int
    end: int
    text: str | None
    """None: the row is dead."""

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> StoredRow | None:
        """The row of these columns; None when it lacks what every row has, or is neither dead nor alive."""
        dead = found["text"] is None
        number, chunks, source = (found[name] for name in ("n", "n_chunks", "source"))
        start, end = found["start"], found["end"]
        if None in (number, chunks, source) or (start is None) != dead or (end is None) != dead:
            return None
        return cls(number, chunks, source, start or 0, end or 0, found["text"])


@dataclass(frozen=True, slots=True)
class Wrong:
    """A fault of a page: the kind it is counted under, and the sentence for the reader."""

    kind: str
    what: str


def page_fault(text: str | None, version: int, found: Sequence[StoredRow | None], unit: Unit) -> Wrong | None:
    """The first thing that is wrong with the rows of a page whose newest version is `version`.

    `text` is what the page's spans must refer to: its text, or the opening text for unit `lead`; None for a deletion.
    """
    rows = [row for row in found if row is not None]
    if len(rows) < len(found):
        return Wrong("damaged", "has a row without number, version, span or text")
    return _rows_fault(rows, version) or _text_fault(text, version, rows, unit)


def _rows_fault(rows: Sequence[StoredRow], version: int) -> Wrong | None:
    if len({row.n for row in rows}) != len(rows):
        return Wrong("twice", f"has a row number twice among {_short(sorted(row.n for row in rows))}")
    live = _live(rows)
    if any(row.source != version for row in live):
        return Wrong("stale", f"has rows of version {live[0].source}, its newest is {version}")
    if not any(row.source == version for row in rows):
        return Wrong("missing", "its newest version is not in the table")
    return None


def _text_fault(text: str | None, version: int, rows: Sequence[StoredRow], unit: Unit) -> Wrong | None:
    live = _live(rows)
    if text is None:
        return Wrong("deleted but there", f"is deleted and has {len(live)} live rows") if live else None
    wanted = max((row.n_chunks for row in rows if row.source == version), default=0)
    if [row.n for row in live] != list(range(wanted)):
        return Wrong("incomplete", f"has rows {_short([row.n for row in live])} instead of 0..{wanted - 1}")
    return _span_fault(text, live, unit)


def _span_fault(text: str, live: Sequence[StoredRow], unit: Unit) -> Wrong | None:
    """Checks that the rows' spans cover the text, but for white space, and the rows have the text of their spans."""
    start, covered = 0, 0
    for row in live:
        if not start <= row.start <= row.end <= len(text) or row.end <= covered:
            return Wrong("bad span", f"chunk {row.n} has span {row.start}..{row.end} after {start}..{covered}")
        if row.text != text[row.start : row.end]:
            return Wrong("other text", f"chunk {row.n} has not the text of its span {row.start}..{row.end}")
        if text[covered : row.start].strip():
            return Wrong("gap", f"no chunk has its characters {covered}..{row.start}")
        start, covered = row.start, row.end
    # Units `page` and `lead` take the beginning that fits into the model, and no more.
    if text[covered:].strip() and not (unit != "window" and live):
        return Wrong("gap", f"no chunk has its characters {covered}..{len(text)}")
    return None


def _live(rows: Sequence[StoredRow]) -> list[StoredRow]:
    return sorted((row for row in rows if row.text is not None), key=lambda row: row.n)


def _short(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return f"[{shown}{', …' if len(numbers) > 5 else ''}]"
