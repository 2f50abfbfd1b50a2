"""Every page of `pages` against its rows: a second pass over the topic, with the rows looked up in batches.

Memory: a byte a page, and one batch of pages with their rows (at most 500 pages or 16 million characters).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from kafka.consumer.fetcher import ConsumerRecord
from lancedb.table import LanceTable
from numpy.typing import NDArray

from pipeline.records import Page, Undecodable, decode
from pipeline.settings import Unit
from sinks.fence import version_of
from sinks.reader import Reader
from sinks.storage import quoted
from sinks.verify.content import StoredRow, page_fault
from sinks.verify.letters import Letters, Sent
from sinks.verify.pages import NewestPages, text_of
from sinks.verify.report import Check, Problems

BATCH_PAGES = 500
BATCH_CHARACTERS = 16_000_000

COLUMNS = ["page", "n", "n_chunks", "source", "start", "end", "text"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The newest version of a page; `text` is None for a deletion, `undecodable` says why nobody can read it."""

    key: str
    raw_key: bytes
    partition: int
    offset: int
    timestamp: int
    place: int
    """In the arrays of newest pages."""
    text: str | None
    undecodable: str = ""

    @property
    def sent(self) -> Sent:
        return Sent(self.key, self.partition, self.offset, self.timestamp)


@dataclass(slots=True)
class CorpusCheck:
    """Compares pages with rows, batch by batch."""

    reader: Reader
    pages: NewestPages
    place: int
    letters: Letters
    unit: Unit
    problems: Problems = field(default_factory=Problems)
    seen: int = 0
    in_letters: int = 0
    without_rows: int = 0
    faulty: set[bytes] = field(default_factory=set)
    """Keys, as `pages` has them, of pages that a repair must send again."""
    accounted: NDArray[np.bool_] = field(init=False)
    """For each of `pages`: its newest version is in the dead letters, so that the one before may be in the table."""
    _batch: list[Wanted] = field(default_factory=list)
    _characters: int = 0

    def __post_init__(self) -> None:
        self.accounted = np.zeros(len(self.pages), np.bool_)

    def run(self, records: Iterable[ConsumerRecord], turned: Callable[[int], None] = lambda pages: None) -> None:
        """Compares the newest version of every page."""
        visited = np.zeros(len(self.pages), np.bool_)
        for record in records:
            key = text_of(record.key)
            place = self.pages.place(key)
            if place < 0 or self.pages.offsets[place] != record.offset:
                continue
            visited[place] = True
            self._take(key, place, record)
            turned(self.seen)
        self._compare()
        for missed in np.flatnonzero(~visited):
            where = f"pages-{self.pages.partitions[missed]}@{self.pages.offsets[missed]}"
            self.problems.add("changed meanwhile", f"{where} was replaced while this ran; verify once more")

    def check(self) -> Check:
        """Checks that every page is there, whole, in its newest version, or in the dead letters."""
        deletions = len(self.pages) - self.pages.live
        figures = f"{self.pages.live:,} pages and {deletions:,} deletions, each whole in its newest version"
        if self.without_rows:
            figures += f", {self.without_rows:,} without text"
        if self.in_letters:
            figures += f", {self.in_letters:,} in dead letters"
        return self.problems.check("every page", figures)

    def _take(self, key: str, place: int, record: ConsumerRecord) -> None:
        text, fault = None, ""
        if record.value is not None:
            try:
                page = decode(record.value, Page)
                text = page.opening_text if self.unit == "lead" else page.text
            except Undecodable as error:
                fault = str(error)
        at = record.partition, record.offset, record.timestamp
        self._batch.append(Wanted(key, record.key or b"", *at, place, text, fault))
        self._characters += len(text or "")
        self.seen += 1
        if len(self._batch) >= BATCH_PAGES or self._characters >= BATCH_CHARACTERS:
            self._compare()

    def _compare(self) -> None:
        if not self._batch:
            return
        rows = self._rows([wanted.key for wanted in self._batch])
        for wanted in self._batch:
            self._compare_one(wanted, rows.get(wanted.key, []))
        self._batch.clear()
        self._characters = 0

    def _compare_one(self, wanted: Wanted, rows: list[StoredRow | None]) -> None:
        where = f"{wanted.key} (pages-{wanted.partition}@{wanted.offset})"
        version = version_of(self.place, wanted.offset)
        fault = None if wanted.undecodable else page_fault(wanted.text, version, rows, self.unit)
        if not fault and not wanted.undecodable:
            self.without_rows += wanted.text is not None and not any(row and row.text is not None for row in rows)
        elif self.letters.has(wanted.sent):
            self.in_letters += 1
            self.accounted[wanted.place] = True
        elif fault:
            self.faulty.add(wanted.raw_key)
            self.problems.add(fault.kind, f"{where} {fault.what}")
        else:
            self.faulty.add(wanted.raw_key)
            self.problems.add("undecodable", f"{where}: {wanted.undecodable}, and not in the dead letters")

    def _rows(self, keys: list[str]) -> dict[str, list[StoredRow | None]]:
        """All rows of these pages, live or dead; None for a damaged one."""
        condition = f"page IN ({', '.join(map(quoted, keys))})"

        def query(lance: LanceTable) -> list[dict[str, object]]:
            found: list[dict[str, object]] = lance.search().where(condition).select(COLUMNS).to_arrow().to_pylist()
            return found

        rows: dict[str, list[StoredRow | None]] = {}
        for found in self.reader.read(query):
            rows.setdefault(str(found["page"]), []).append(StoredRow.of(found))
        return rows
