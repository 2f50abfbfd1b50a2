"""`python -m producers.dumps --wiki W`: lists or downloads a CirrusSearch dump, without reading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import structlog
from pydantic import Field
from rich import box
from rich.table import Table

from pipeline.addresses import without_secrets
from pipeline.bars import open_display
from pipeline.cli import FLAG, command, new_app, run
from pipeline.errors import Exit
from pipeline.terminal import Console, write_json
from producers.fetch.downloads import Downloads
from producers.fetch.http import HttpFiles
from producers.fetch.mirror import Snapshot, find_snapshot
from producers.fetch.settings import MirrorSettings
from producers.fetch.transfer import look


class DumpsSettings(MirrorSettings):
    """Flags of `producers.dumps`."""

    list_only: bool = Field(False, description="List the shards, download nothing.", json_schema_extra={FLAG: "--list"})
    json_output: bool = Field(
        False, description="Print one JSON document at the end, nothing else.", json_schema_extra={FLAG: "--json"}
    )


class ShardListed(msgspec.Struct, frozen=True, kw_only=True):
    """One shard in `--json`."""

    name: str
    address: str
    size: int | None
    path: str


class SnapshotListed(msgspec.Struct, frozen=True, kw_only=True):
    """The document that `--json` prints."""

    wiki: str
    snapshot: str
    address: str
    folder: str
    downloaded: bool
    shards: list[ShardListed]


app = new_app("Lists or downloads CirrusSearch dumps.")


@command(app, DumpsSettings)
def dumps(settings: DumpsSettings) -> int:
    """Downloads the newest complete dump of a wiki into DATA_DIR/dumps, and goes on where it was left."""
    server, snapshot = find_snapshot(settings)
    folder = settings.dumps_folder
    if settings.list_only:
        sizes = [file.size if file.size is not None else look(server, file).size for file in snapshot.files]
    else:
        sizes = _download(server, snapshot, folder)
    listed = _listed(snapshot, folder, sizes, downloaded=not settings.list_only)
    if settings.json_output:
        write_json(msgspec.json.encode(listed))
    else:
        Console().print(_table(listed))
    return Exit.DONE


def _download(server: HttpFiles, snapshot: Snapshot, folder: Path) -> list[int | None]:
    log: Any = structlog.get_logger()
    log.info("downloading", wiki=snapshot.wiki, snapshot=snapshot.date, shards=len(snapshot.files), to=str(folder))
    with Downloads(server, snapshot.files, folder) as downloads, open_display(log) as display:
        while not downloads.exhausted:
            downloads.take(0.25)
            display.show(downloads.progress())
        return [file.size for file in downloads.progress().files]


def _listed(snapshot: Snapshot, folder: Path, sizes: list[int | None], downloaded: bool) -> SnapshotListed:
    shards = [
        ShardListed(name=file.name, address=without_secrets(file.address), size=size, path=str(folder / file.place))
        for file, size in zip(snapshot.files, sizes, strict=True)
    ]
    return SnapshotListed(
        wiki=snapshot.wiki,
        snapshot=snapshot.date,
        address=without_secrets(snapshot.address),
        folder=str((folder / snapshot.files[0].place).parent),
        downloaded=downloaded,
        shards=shards,
    )


def _table(listed: SnapshotListed) -> Table:
    table = Table(
        title=f"{listed.wiki} {listed.snapshot}" + (f": in {listed.folder}" if listed.downloaded else ""),
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("shard", overflow="fold")
    table.add_column("bytes", justify="right", no_wrap=True)
    for shard in listed.shards:
        table.add_row(shard.name, "?" if shard.size is None else f"{shard.size:,}")
    table.add_section()
    table.add_row(f"all {len(listed.shards)}", f"{sum(shard.size or 0 for shard in listed.shards):,}")
    return table


if __name__ == "__main__":
    run(app, "producers.dumps")
