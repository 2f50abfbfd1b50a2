"""A ledger as a table, wherever one is shown."""

from __future__ import annotations

from rich import box
from rich.table import Table

from producers.ledger import Ledger


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
