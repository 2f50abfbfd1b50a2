"""`python -m producers.ledger`: the account of every line of every shard, and the verdict on each snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
from pydantic import Field
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.cli import FLAG, command, new_app, run
from pipeline.errors import Exit, UsageError
from pipeline.kafka import Cluster
from pipeline.settings import Settings
from pipeline.terminal import report_console, write_json
from pipeline.topics import corpus_topics, topic_ids
from pipeline.wiki_name import WikiNameOrNone
from producers.account import Ledger, total
from producers.run.display import ledger_columns, ledger_numbers, reasons
from producers.run.progress import Progress
from producers.snapshots.completeness import missing, unnamed
from producers.snapshots.snapshots import Snapshots


class LedgerSettings(Settings):
    """The snapshots to show, and the place for the account."""

    wiki: WikiNameOrNone = Field("", description="Only this wiki's.")
    snapshot: str = Field("", description="Only this one (YYYYMMDD).")
    out: str = Field("", description="Write the account as JSON to this file or s3:// or gs:// address as well.")
    json_output: bool = Field(False, description="One JSON document on stdout.", json_schema_extra={FLAG: "--json"})


class ShardReport(msgspec.Struct, frozen=True, kw_only=True):
    """One shard: which file it was, and what became of its lines."""

    shard: str
    size: int
    checksum: str
    state: str
    """`finished`, `line N` of one that is not, or `not read`."""
    ledger: Ledger


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot of one wiki."""

    wiki: str
    snapshot: str
    complete: bool
    """Every shard is finished and every ledger balances."""
    finished: bool
    """And `--finish` has deleted what it lacks."""
    problems: list[str]
    unnamed: int
    """Entries that could not be read and name no page; --finish refuses them."""
    options: list[str]
    total: Ledger
    shards: list[ShardReport]


def snapshot_reports(snapshots: Snapshots, pages_topic: str) -> Iterator[Report]:
    """Each snapshot that `progress` knows, the older first."""
    for wiki, snapshot in sorted(snapshots.plans, key=lambda key: (key[1], key[0])):
        plan, found = snapshots.plans[wiki, snapshot], snapshots.of(wiki, snapshot)
        problems = missing(snapshots, wiki, snapshot, pages_topic)
        last = snapshots.complete.get(wiki)
        shards = [_shard(key, found.get(key)) for key in plan.shards]
        yield Report(
            wiki=wiki,
            snapshot=snapshot,
            complete=not problems,
            finished=last is not None and last.snapshot == snapshot and last.pages_topic == pages_topic,
            problems=problems,
            unnamed=sum(unnamed({key: found[key] for key in plan.shards if key in found}).values()),
            options=sorted({progress.options for progress in found.values()}),
            total=total([shard.ledger for shard in shards]),
            shards=shards,
        )


def _shard(key: str, progress: Progress | None) -> ShardReport:
    name = key.rpartition("/")[2]
    if progress is None:
        return ShardReport(shard=name, size=0, checksum="", state="not read", ledger=Ledger())
    state = "finished" if progress.finished else progress.damage or f"line {progress.line:,}"
    return ShardReport(shard=name, size=progress.size, checksum=progress.checksum, state=state, ledger=progress.ledger)


def tables(report: Report) -> Iterator[RenderableType]:
    """The report for a terminal."""
    table = ledger_columns(f"{report.wiki} {report.snapshot or '(no date)'}")
    for shard in report.shards:
        table.add_row(shard.shard, *ledger_numbers(shard.ledger), shard.state)
    table.add_section()
    whole = "balanced" if report.total.balanced else "UNBALANCED"
    table.add_row(f"all {len(report.shards)}", *ledger_numbers(report.total), whole)
    yield _captioned(table, report)
    yield Text(_verdict(report), style="green" if report.complete else "red")


def _captioned(table: Table, report: Report) -> Table:
    table.caption = reasons(report.total)
    return table


def _verdict(report: Report) -> str:
    if not report.complete:
        return "not complete: " + "; ".join(report.problems[:10])
    if report.finished:
        return "complete, and what it lacks is deleted"
    next_step = f"python -m producers.cirrus --finish {report.snapshot or 'SNAPSHOT'} --wiki {report.wiki}"
    if report.unnamed:
        return (
            f"complete but for {report.unnamed:,} entries that could not be read and name no page; next: fetch their "
            f"files again, or {next_step} --accept-unreadable {report.unnamed}"
        )
    return f"complete; next: {next_step}"


app = new_app("Prints what became of every line of the dumps.")


@command(app, LedgerSettings)
def ledger(settings: LedgerSettings) -> int:
    """Prints the ledger of each shard; exits with 1 when a snapshot is not complete or a ledger does not balance."""
    with closing(Cluster.connect(settings)) as cluster:
        topics = corpus_topics(settings)
        pages_topic = str(topic_ids(cluster, [topics.pages])[topics.pages])
        snapshots = Snapshots.read(cluster, topics.progress)
    found = [
        report
        for report in snapshot_reports(snapshots, pages_topic)
        if settings.wiki in ("", report.wiki) and settings.snapshot in ("", report.snapshot)
    ]
    if not found:
        raise UsageError("no shard of such a snapshot has been read; `python -m producers.cirrus SOURCE…` reads them")
    document = msgspec.json.format(msgspec.json.encode(found), indent=2)
    if settings.out:
        _write(settings.out, document)
    if settings.json_output:
        write_json(document)
    else:
        _show(found)
    return Exit.DONE if all(report.complete for report in found) else Exit.CHECK_FAILED


def _show(reports: list[Report]) -> None:
    console = report_console()
    for report in reports:
        for table in tables(report):
            console.print(table)


def _write(place: str, document: bytes) -> None:
    try:
        if "://" in place:
            import fsspec

            with fsspec.open(place, "wb") as file:
                file.write(document)
        else:
            Path(place).write_bytes(document)
    except (OSError, ImportError, ValueError) as error:
        raise UsageError(f"--out {place}: {error}") from None


if __name__ == "__main__":
    run(app, "producers.ledger")
