"""Measures a table by hand: `python -m sinks.measure`. The writer of a table does the same each night, and keeps it."""

from __future__ import annotations

import msgspec
from pydantic import Field
from rich.table import Table
from rich.text import Text

from pipeline import cli
from pipeline.errors import Exit
from pipeline.terminal import Console, write_json
from sinks.measure.opening import measured_table
from sinks.measure.quality_report import quality_table
from sinks.measure.settings import MeasureSettings
from sinks.measured import Measured


class CommandSettings(MeasureSettings):
    """Settings of `python -m sinks.measure`."""

    seed: int = Field(0, ge=0, description="Draws pages and questions; another number, other questions.")
    json_output: bool = Field(False, description="One JSON document on stdout.", json_schema_extra={cli.FLAG: "--json"})


app = cli.new_app("Measures how well a table is searched, with questions made from its own pages; changes nothing.")


@cli.command(app, CommandSettings)
def measure(settings: CommandSettings) -> int:
    """Measures how well a table is searched, with questions made from its own pages; changes nothing."""
    found = measured_table(settings, seed=settings.seed)
    if settings.json_output:
        write_json(msgspec.json.format(msgspec.json.encode(found), indent=2))
    else:
        show(found, Console())
    return Exit.DONE


def show(found: Measured, console: Console) -> None:
    """Prints what was measured: the vector index, the weights of the legs, the quality of each mode."""
    if found.recall is not None:
        console.print(
            Text(f"vector index: recall@10 {found.recall:.3f} with nprobes {found.nprobes}, refine {found.refine}")
        )
    if found.weights:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in ("language", "weight of meaning", "of words"):
            table.add_column(name, justify="left" if name == "language" else "right")
        for language, weights in sorted(found.weights.items()):
            table.add_row(Text(language or "(none)"), f"{weights.vector:.2f}", f"{weights.text:.2f}")
        console.print(table)
    console.print(quality_table(found.quality))
    console.print(Text(f"{found.rows:,} rows, {found.at}", style="dim"))


if __name__ == "__main__":
    cli.run(app, "sinks.measure")
