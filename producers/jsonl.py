"""`python -m producers.jsonl FILE…`: documents of one's own into `pages`, a JSON object a line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.cli import command, new_app, run
from producers.files.file_run import FileRun
from producers.files.page_reader import FileKind
from producers.files.sources import FileNames, Origin, Shard
from producers.records.jsonl_fields import check_fields
from producers.records.jsonl_reader import JsonlReader, JsonlSettings

_LINES = (".jsonl", ".ndjson")
_SUFFIXES = tuple(plain + packed for plain in (*_LINES, ".json") for packed in ("", ".gz", ".bz2"))


def _in_folder(path: Path) -> bool:
    """A `.json` is read when it is named: most of them are one document, and not ours."""
    return any(ending in _LINES for ending in path.suffixes[-2:])


JSONL_NAMES = FileNames("jsonl", "file of JSON lines", _SUFFIXES, in_folder=_in_folder)


def _check(shard: Shard, settings: JsonlSettings) -> None:
    check_fields(shard.path, settings.mapping, settings.max_line_bytes)


KIND = FileKind("jsonl", JSONL_NAMES, JsonlSettings, JsonlReader, _check)

app = new_app("Reads JSON Lines into Kafka.")


@command(app, JsonlSettings)
def jsonl(settings: JsonlSettings) -> int:
    """Sends the records of JSON Lines files (.jsonl, .ndjson, .json; plain, .gz, .bz2) to `pages`, and goes on where it
    was left."""
    # The corpus is part of the key of a file's progress: the same file may be read into another one.
    names = replace(JSONL_NAMES, origin=lambda _: Origin(settings.wiki))
    return FileRun(replace(KIND, names=names), settings).run()


if __name__ == "__main__":
    run(app, "producers.jsonl")
