"""The view of a run for its operator: bars on a terminal, a line every few seconds elsewhere, a table at the end."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from rich import box
from rich.progress import TaskID
from rich.table import Table

from pipeline.terminal import Console, byte_bars
from producers.account import Ledger
from producers.run.account import RunAccount, ShardAccount

if TYPE_CHECKING:
    from producers.fetch.progress import DownloadProgress

LINE_SECONDS = 5.0
SHARDS_SHOWN = 24
"""A table of more finished shards than this hides what matters."""


class Display(Protocol):
    """Shows an account while it changes."""

    def show(self, account: RunAccount, downloads: DownloadProgress | None) -> None: ...

    def __enter__(self) -> Display: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


class Bars:
    """A bar for each shard being read and one for all, in bytes of the files."""

    def __init__(self, console: Console) -> None:
        self._bars = byte_bars(console)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, account: RunAccount, downloads: DownloadProgress | None) -> None:
        for key, shard in account.shards.items():
            if shard.state == "reading":
                self._update(
                    key,
                    short_name(shard.shard.name),
                    shard.bytes_read,
                    shard.shard.size,
                    f"{shard.ledger.produced:,} pages",
                )
            elif key in self._tasks:
                self._bars.remove_task(self._tasks.pop(key))
        done = sum(shard.bytes_read for shard in account.shards.values())
        size = sum(shard.shard.size for shard in account.shards.values())
        pages = f"{account.ledger.produced:,} pages, {account.pages_per_second:,.0f}/s"
        if downloads is not None:
            files = (
                f"{downloads.finished} of {len(downloads.files)} files, {downloads.bytes_per_second / 1e6:,.1f} MB/s"
            )
            self._update("downloads", "downloads", downloads.have, downloads.size, files)
        self._update("", f"all {len(account.shards)} shards", done, size, pages)

    def _update(self, key: str, name: str, done: int, size: int, note: str) -> None:
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(name, total=size, note=note)
        self._bars.update(self._tasks[key], completed=done, note=note)


class Lines:
    """A structured log line every 5 s."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._shown_at = time.monotonic()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, account: RunAccount, downloads: DownloadProgress | None) -> None:
        if time.monotonic() - self._shown_at < LINE_SECONDS:
            return
        self._shown_at = time.monotonic()
        done = sum(shard.bytes_read for shard in account.shards.values())
        size = sum(shard.shard.size for shard in account.shards.values())
        rate = done / max(0.001, time.monotonic() - account.started_at)
        if downloads is not None:
            self._log.info(
                "downloading",
                files_here=downloads.finished,
                files=len(downloads.files),
                percent=round(100 * downloads.have / max(1, downloads.size), 1),
                bytes_per_second=round(downloads.bytes_per_second),
                eta_seconds=None if downloads.eta_seconds is None else round(downloads.eta_seconds),
            )
        self._log.info(
            "producing",
            shards_finished=sum(s.state in ("finished", "skipped") for s in account.shards.values()),
            shards=len(account.shards),
            pages=account.ledger.produced,
            pages_per_second=round(account.pages_per_second, 1),
            percent=round(100 * done / max(1, size), 1),
            eta_seconds=round((size - done) / rate) if rate else None,
        )


def open_display(log: Any) -> Display:
    """Bars where stderr is a terminal, else lines of this log."""
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal else Lines(log)


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
    """Why entries were left out, the commonest first."""
    parts = (("dropped", ledger.dropped), ("malformed", ledger.malformed), ("mended", ledger.mended))
    return "\n".join(
        f"{what}: " + ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda c: -c[1]))
        for what, counts in parts
        if counts
    )
