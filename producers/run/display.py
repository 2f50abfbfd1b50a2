"""The view of a run for its operator: bars on a terminal, a line every few seconds elsewhere, a table at the end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from pipeline.bars import Bar
from producers.account import Ledger
from producers.run.account import RunAccount, ShardAccount

if TYPE_CHECKING:
    from producers.fetch.progress import DownloadProgress

SHARDS_SHOWN = 24
"""A table of more finished shards than this hides what matters."""


@dataclass(frozen=True, slots=True)
class RunStanding:
    """A run as it stands: a bar for each shard being read and one for all, in bytes of the files."""

    account: RunAccount
    downloads: DownloadProgress | None

    def bars(self) -> dict[str, Bar]:
        reading = {key: shard for key, shard in self.account.shards.items() if shard.state == "reading"}
        bars = {key: _bar(shard) for key, shard in reading.items()}
        if self.downloads is not None:
            bars["downloads"] = self.downloads.bar("downloads")
        note = f"{self.account.ledger.produced:,} pages, {self.account.pages_per_second:,.0f}/s"
        return {**bars, "": Bar(f"all {len(self.account.shards)} shards", self._done, self._size, note)}

    def lines(self) -> dict[str, dict[str, object]]:
        shards = self.account.shards.values()
        rate = self._done / max(0.001, time.monotonic() - self.account.started_at)
        producing: dict[str, object] = {
            "shards_finished": sum(shard.state in ("finished", "skipped") for shard in shards),
            "shards": len(shards),
            "pages": self.account.ledger.produced,
            "pages_per_second": round(self.account.pages_per_second, 1),
            "percent": round(100 * self._done / max(1, self._size), 1),
            "eta_seconds": round((self._size - self._done) / rate) if rate else None,
        }
        downloading = {} if self.downloads is None else self.downloads.lines()
        return {**downloading, "producing": producing}

    @property
    def _done(self) -> int:
        return sum(shard.bytes_read for shard in self.account.shards.values())

    @property
    def _size(self) -> int:
        return sum(shard.shard.size for shard in self.account.shards.values())


def _bar(shard: ShardAccount) -> Bar:
    return Bar(short_name(shard.shard.name), shard.bytes_read, shard.shard.size, f"{shard.ledger.produced:,} pages")


def ledger_table(account: RunAccount) -> Table:
    """The ledger, shard by shard, with the sums that must balance, for a terminal of 80 columns."""
    whole = account.ledger
    table = ledger_columns("Ledger: read = produced + dropped + malformed")
    table.caption = reasons(whole)
    for shard in _shown(account):
        table.add_row(short_name(shard.shard.name), *ledger_numbers(shard.ledger), shard.state)
    table.add_section()
    state = "balanced" if whole.balanced else "UNBALANCED"
    table.add_row(f"all {len(account.shards)}", *ledger_numbers(whole), state)
    return table


def short_name(name: str) -> str:
    """A shard's name without the endings that all have."""
    return name.removesuffix(".bz2").removesuffix(".gz").removesuffix(".json")


def _shown(account: RunAccount) -> list[ShardAccount]:
    shards = list(account.shards.values())
    if len(shards) <= SHARDS_SHOWN:
        return shards
    return [shard for shard in shards if shard.state not in ("finished", "skipped")]


def ledger_columns(title: str) -> Table:
    """An empty table for ledgers: a name, five numbers, a state; for a terminal of 80 columns."""
    table = Table(title=title, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("shard", overflow="fold")
    for name in ("lines", "read", "produced", "dropped", "malformed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    return table


def ledger_numbers(ledger: Ledger) -> tuple[str, ...]:
    """The five numbers of a row."""
    numbers = (ledger.lines, ledger.read, ledger.produced, sum(ledger.dropped.values()), sum(ledger.malformed.values()))
    return tuple(f"{number:,}" for number in numbers)


def reasons(ledger: Ledger) -> str:
    """The reasons why entries were left out, the commonest first."""
    parts = (("dropped", ledger.dropped), ("malformed", ledger.malformed), ("mended", ledger.mended))
    return "\n".join(
        f"{what}: " + ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda c: -c[1]))
        for what, counts in parts
        if counts
    )
