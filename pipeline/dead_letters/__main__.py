"""Lists dead letters and tries them again: `python -m pipeline.dead_letters list|show|replay|purge`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial

from kafka.consumer.fetcher import ConsumerRecord
from pydantic import AwareDatetime, Field
from rich.table import Table

from pipeline import cli, dead_letters, topics
from pipeline.addresses import without_secrets
from pipeline.dead_letters.headers import MAX_BYTES
from pipeline.dead_letters.retry import Fate, retry
from pipeline.errors import Exit, UsageError
from pipeline.kafka import Cluster, read_to_end
from pipeline.settings import Settings
from pipeline.terminal import Console, plain_line, say, write_json

app = cli.new_app("Shows the records that could not be processed, and why; tries them again; removes them.")


ODD = "odd"
"""Stands for the reason of a letter whose headers are none of a letter."""


class ListSettings(Settings):
    """Settings of `list`."""

    limit: int = Field(100, ge=1, le=100_000, description="Most letters to print, newest last; all are counted.")
    json_output: bool = Field(False, description="One JSON document on stdout.", json_schema_extra={cli.FLAG: "--json"})


class ShowSettings(Settings):
    """Settings of `show`."""

    letter: str = Field(
        description="Its position, as `list` prints it: PARTITION@OFFSET.", json_schema_extra={cli.ARGUMENT: True}
    )


class ReplaySettings(Settings):
    """Settings of `replay`."""

    letter: str = Field(
        "",
        description="Only this one, as `list` prints it: PARTITION@OFFSET; without: all.",
        json_schema_extra={cli.ARGUMENT: True},
    )
    stage: str = Field("", description="Only letters of this stage, such as embed.")
    reason: str = Field("", description="Only letters with this reason, such as out_of_memory.")
    from_letters: bool = Field(
        False, description="Send pages that never came to `pages` as the letters have them: look at those before."
    )
    json_output: bool = Field(False, description="One JSON document on stdout.", json_schema_extra={cli.FLAG: "--json"})


class PurgeSettings(Settings):
    """Settings of `purge`."""

    before: AwareDatetime | None = Field(
        None, description="Only letters older than this moment, such as 2026-12-01T00:00:00Z."
    )
    yes: bool = Field(False, description="Remove them; without it they are only counted.")


@cli.command(app, ListSettings, "list")
def list_letters(settings: ListSettings) -> int:
    """Lists dead letters by position, with stage and reason, and counts them."""
    rows = [_row(record) for record in _letters(settings)]
    counts = Counter((row.stage, ODD if row.odd else row.reason) for row in rows)
    shown = sorted(rows, key=lambda row: (row.partition, row.offset))[-settings.limit :]
    if settings.json_output:
        totals = [{"stage": stage, "reason": reason, "count": n} for (stage, reason), n in sorted(counts.items())]
        write_json(json.dumps({"total": len(rows), "by_reason": totals, "letters": [asdict(row) for row in shown]}))
        return Exit.DONE
    table = Table("letter", "page", "stage", "reason", "error", title=f"{len(rows)} dead letters")
    for row in shown:
        why = (ODD, row.odd) if row.odd else (row.reason, row.error)
        table.add_row(f"{row.partition}@{row.offset}", row.page, row.stage, *why)
    Console().print(table)
    return Exit.DONE


@cli.command(app, ShowSettings, "show")
def show_letter(settings: ShowSettings) -> int:
    """Prints one dead letter: its headers, and the beginning of the original bytes."""
    wanted = settings.letter
    for record in _letters(settings):
        if f"{record.partition}@{record.offset}" == wanted:
            for name, value in record.headers:
                say(f"{plain_line(name)}: {plain_line((value or b'')[:MAX_BYTES].decode('utf-8', 'replace'))}")
            say(f"key: {(record.key or b'')!r}")
            say(f"value: {len(record.value or b'')} bytes: {(record.value or b'')[:400]!r}")
            return Exit.DONE
    raise UsageError(f"no dead letter {wanted}; `python -m pipeline.dead_letters list` has their positions")


@cli.command(app, ReplaySettings, "replay")
def replay_letters(settings: ReplaySettings) -> int:
    """Sends the pages of dead letters to `pages` again, unless something newer of them has come since.

    Do it when the cause is gone: they go the whole way once more, in every model's pipeline. The letters stay; `purge`
    removes them.
    """
    with closing(Cluster.connect(settings)) as cluster:
        done = retry(
            cluster, topics.corpus_topics(settings), partial(_is_wanted, settings), from_letters=settings.from_letters
        )
    if settings.letter and not done.fates:
        raise UsageError(f"no such dead letter: {settings.letter}; `python -m pipeline.dead_letters list` has them")
    if settings.json_output:
        write_json(
            json.dumps({"sent": done.sent, "overtaken": done.overtaken, "pages": dict(sorted(done.fates.items()))})
        )
        return Exit.DONE
    say(f"sent {done.sent:,} pages again; let the pipeline run until there is no lag, then: python -m sinks.verify")
    for fate, why in _LEFT.items():
        if done.fates[fate]:
            say(f"left {done.fates[fate]:,}: {why}")
    return Exit.DONE


_LEFT: dict[Fate, str] = {
    "unproven": "they never came to `pages`, and every stage may write such letters: look at them with `show`, then "
    "say --from-letters",
    "superseded": "a newer version of the page has come since",
    "gone": "the page was deleted, or its key is none of a page",
    "too_large": "still larger than `pages` takes; raise its max.message.bytes, then try again",
    "not_kept": "too large to be kept; let the producer read its file again",
    "odd": "their headers are none of a letter: look at them with `show`, and at who may write to the topic",
}


def _is_wanted(settings: ReplaySettings, record: ConsumerRecord, stage: str, reason: str) -> bool:
    return (
        settings.letter in ("", f"{record.partition}@{record.offset}")
        and settings.stage in ("", stage)
        and settings.reason in ("", reason)
    )


@cli.command(app, PurgeSettings, "purge")
def purge_letters(settings: PurgeSettings) -> int:
    """Removes dead letters for good. A page that is neither in the table nor here counts as missing from then on."""
    with closing(Cluster.connect(settings)) as cluster:
        topic = topics.corpus_topics(settings).dead_letters
        before = None if settings.before is None else int(settings.before.timestamp() * 1000)
        ends, count = _old(read_to_end(cluster, topic), before)
        if count and not settings.yes:
            raise UsageError(f"{count:,} dead letters would be gone for good: say --yes")
        cluster.trim(topic, ends)
    say(f"removed {count:,} dead letters")
    return Exit.DONE


def _old(records: Iterable[ConsumerRecord], before: int | None) -> tuple[dict[int, int], int]:
    """The beginning of each partition without what is older than `before` (ms), and the number of those letters.

    Kafka removes from the front alone: an old letter behind a younger one stays.
    """
    ends: dict[int, int] = {}
    young: set[int] = set()
    count = 0
    for record in records:
        if before is not None and record.timestamp >= before:
            young.add(record.partition)
        if record.partition not in young:
            ends[record.partition] = record.offset + 1
            count += 1
    return ends, count


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
    odd: str
    """The fault in its headers; empty for a letter as our stages write them."""


def _row(record: ConsumerRecord) -> Row:
    stage, letter = dead_letters.read(record)
    return Row(
        record.partition,
        record.offset,
        letter.key.decode("utf-8", "replace"),
        stage,
        letter.reason,
        without_secrets(letter.error),
        letter.topic,
        letter.partition,
        letter.offset,
        letter.attempts,
        letter.odd,
    )


if __name__ == "__main__":
    cli.run(app, "pipeline.dead_letters")
