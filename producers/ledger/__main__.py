"""`python -m producers.ledger`: what became of every line of every shard, and whether a snapshot is complete."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
from pydantic import Field

from pipeline.cli import FLAG, command, new_app, run
from pipeline.errors import Exit, UsageError
from pipeline.kafka import Cluster
from pipeline.settings import Settings
from pipeline.terminal import report_console, write_json
from pipeline.topics import corpus_topics, topic_ids
from pipeline.wiki_name import WikiNameOrNone
from producers.ledger.report import Report, snapshot_reports, tables
from producers.snapshots.snapshots import Snapshots


class LedgerSettings(Settings):
    """Which snapshots, and where the account goes."""

    wiki: WikiNameOrNone = Field("", description="Only this wiki's.")
    snapshot: str = Field("", description="Only this one (YYYYMMDD).")
    out: str = Field("", description="Write the account as JSON to this file or s3:// or gs:// address as well.")
    json_output: bool = Field(False, description="One JSON document on stdout.", json_schema_extra={FLAG: "--json"})


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
