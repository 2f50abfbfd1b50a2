"""A snapshot's account, shard by shard: as one JSON document, and as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from producers.files.progress import Progress
from producers.ledger import Ledger, total
from producers.ledger.table import ledger_columns, ledger_numbers, reasons
from producers.snapshots.completeness import missing, unnamed
from producers.snapshots.snapshots import Snapshots


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
