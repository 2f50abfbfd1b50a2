"""Shows what could not be processed: `python -m pipeline.dead_letters list|show`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from kafka.consumer.fetcher import ConsumerRecord
from pydantic import Field
from rich.console import Console
from rich.table import Table

from pipeline import cli, dead_letters, topics
from pipeline.errors import Exit, UsageError
from pipeline.kafka import Cluster, read_to_end
from pipeline.settings import Settings

app = cli.new_app("Shows the records that could not be processed, and why.")


class ListSettings(Settings):
    """What `list` takes."""

    limit: int = Field(100, ge=1, le=100_000, description="Most letters to print, newest last; all are counted.")
    json_output: bool = Field(False, description="One JSON document on stdout.", json_schema_extra={cli.FLAG: "--json"})


class ShowSettings(Settings):
    """What `show` takes."""

    letter: str = Field(
        description="Its position, as `list` prints it: PARTITION@OFFSET.", json_schema_extra={cli.ARGUMENT: True}
    )


@cli.command(app, ListSettings, "list")
def list_letters(settings: ListSettings) -> int:
    """Lists dead letters by position, with stage and reason, and counts them."""
    rows = [_row(record) for record in _letters(settings)]
    counts = Counter((row.stage, row.reason) for row in rows)
    shown = sorted(rows, key=lambda row: (row.partition, row.offset))[-settings.limit :]
    if settings.json_output:
        totals = [{"stage": stage, "reason": reason, "count": n} for (stage, reason), n in sorted(counts.items())]
        print(json.dumps({"total": len(rows), "by_reason": totals, "letters": [asdict(row) for row in shown]}))
        return Exit.DONE
    table = Table("letter", "page", "stage", "reason", "error", title=f"{len(rows)} dead letters")
    for row in shown:
        table.add_row(f"{row.partition}@{row.offset}", row.page, row.stage, row.reason, row.error)
    Console().print(table)
    return Exit.DONE


@cli.command(app, ShowSettings, "show")
def show_letter(settings: ShowSettings) -> int:
    """Prints one dead letter: its headers, and the beginning of the original bytes."""
    wanted = settings.letter
    for record in _letters(settings):
        if f"{record.partition}@{record.offset}" == wanted:
            console = Console()
            for name, value in record.headers:
                console.print(f"{name}: {value.decode('utf-8', 'replace')}", markup=False)
            console.print(f"key: {(record.key or b'')!r}", markup=False)
            console.print(f"value: {len(record.value or b'')} bytes: {(record.value or b'')[:400]!r}", markup=False)
            return Exit.DONE
    raise UsageError(f"no dead letter {wanted}; `python -m pipeline.dead_letters list` has their positions")


def _letters(settings: Settings) -> Iterator[ConsumerRecord]:
    cluster = Cluster.connect(settings)
    try:
        yield from read_to_end(cluster, topics.corpus_topics(settings).dead_letters)
    finally:
        cluster.close()


@dataclass(frozen=True, slots=True)
class Row:
    """A dead letter as it is printed; `topic`, `source_partition` and `source_offset` are where the original stood."""

    partition: int
    offset: int
    page: str
    stage: str
    reason: str
    error: str
    topic: str
    source_partition: int
    source_offset: int
    attempts: int


def _row(record: ConsumerRecord) -> Row:
    stage, letter = dead_letters.read(record)
    return Row(
        record.partition,
        record.offset,
        letter.key.decode("utf-8", "replace"),
        stage,
        letter.reason,
        letter.error,
        letter.topic,
        letter.partition,
        letter.offset,
        letter.attempts,
    )


if __name__ == "__main__":
    cli.run(app, "pipeline.dead_letters")
