"""`python -m producers.parquet FILE…`: the rows of Parquet files into `pages`."""

from __future__ import annotations

from dataclasses import replace

from pipeline.cli import command, new_app, run
from producers.files.file_run import FileRun
from producers.files.page_reader import FileKind
from producers.files.sources import FileNames, Origin, Shard
from producers.records.mapping_settings import MappingSettings
from producers.records.parquet_fields import check_columns
from producers.records.parquet_reader import ParquetReader

PARQUET_NAMES = FileNames("parquet", "Parquet file", (".parquet",))


def _check(shard: Shard, settings: MappingSettings) -> None:
    check_columns(shard.path, settings)


KIND = FileKind("parquet", PARQUET_NAMES, MappingSettings, ParquetReader, _check)

app = new_app("Reads Parquet files into Kafka.")


@command(app, MappingSettings)
def parquet(settings: MappingSettings) -> int:
    """Sends the rows of Parquet files to `pages`, and goes on where it was left."""
    # The corpus is part of the key of a file's progress: the same file may be read into another one.
    names = replace(PARQUET_NAMES, origin=lambda _: Origin(settings.wiki))
    return FileRun(replace(KIND, names=names), settings).run()


if __name__ == "__main__":
    run(app, "producers.parquet")
