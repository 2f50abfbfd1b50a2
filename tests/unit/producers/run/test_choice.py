"""Which source reads the files that a command names."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from producers.run.choice import choose_source

DUMP = "testwiki_content-20261115-00000.json.bz2"
EXPORT = "testwiki-20261101-pages-articles.xml.bz2"
ACTION = '{"index": {"_id": 1}}\n{"title": "Harbour"}\n'
RECORD = '{"nr": 1, "body": "Fill it to half with water."}\n'


def choice(folder: Path, *names: str) -> str:
    """The source of these files, which are made when they are not there."""
    for name in names:
        if not any(letter in name for letter in "*?") and not (folder / name).exists():
            (folder / name).write_text("")
    return choose_source([str(folder / name) for name in names]).name


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (DUMP, "cirrus"),
        ("testwiki-20251103-cirrussearch-content.json.gz", "cirrus"),
        ("notes.jsonl", "jsonl"),
        ("notes.jsonl.gz", "jsonl"),
        ("notes.ndjson.bz2", "cirrus"),
        ("train-00000.parquet", "parquet"),
        ("notes.md", "markdown"),
        (EXPORT, "wikitext"),
        ("enwiki-20261101-pages-articles1.xml-p1p41242.bz2", "wikitext"),
    ],
)
def test_a_files_name_says_its_source(tmp_path: Path, name: str, source: str) -> None:
    assert choice(tmp_path, name) == source


@pytest.mark.parametrize(("first", "source"), [(ACTION, "cirrus"), (RECORD, "jsonl"), ("", "cirrus"), ("{", "cirrus")])
def test_a_name_of_two_sources_is_told_by_the_first_line(tmp_path: Path, first: str, source: str) -> None:
    (tmp_path / "dump.json").write_text(first)
    (tmp_path / "dump.ndjson").write_text(first)
    (tmp_path / "dump.json.gz").write_bytes(gzip.compress(first.encode()))
    for name in ("dump.json", "dump.ndjson", "dump.json.gz"):
        assert choice(tmp_path, name) == source
    assert choose_source([str(tmp_path / "dump.*")]).name == source


def test_a_folder_is_of_the_source_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "de").mkdir()
    (tmp_path / "de" / "train.parquet").write_bytes(b"")
    (tmp_path / "LICENSE").write_text("")
    assert choice(tmp_path, ".") == "parquet"
    assert choice(tmp_path, "*") == "parquet"


def test_a_folder_with_a_dump_is_read_for_it_as_ever_and_what_is_left_out_is_told(tmp_path: Path) -> None:
    for name in (DUMP, EXPORT, "README.md"):
        (tmp_path / name).write_text("")
    found = choose_source([str(tmp_path)])
    assert (found.name, Path(found.left_out).name) in {("cirrus", EXPORT), ("cirrus", "README.md")}


def test_files_of_several_sources_are_refused_with_the_first_of_each(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"notes\.jsonl is one for jsonl, .*a\.parquet is one for parquet; .*--source"):
        choice(tmp_path, "notes.jsonl", "a.parquet", "b.parquet")
    with pytest.raises(UsageError, match="several sources"):
        choice(tmp_path, ".")
    with pytest.raises(UsageError, match="several sources"):
        choice(tmp_path, "notes.jsonl", DUMP)


def test_files_of_no_source_are_refused_with_the_names_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"notes\.txt: no source reads a file of this name; .*jsonl reads \.jsonl"):
        choice(tmp_path, "notes.txt")
    with pytest.raises(UsageError, match="no file in this folder"):
        choice(tmp_path, ".")
    with pytest.raises(UsageError, match="no such file or folder"):
        choose_source([str(tmp_path / "gone.jsonl")])


def test_an_address_is_told_by_its_ending_alone_and_shown_without_its_secret() -> None:
    assert choose_source(["s3://bucket/notes.jsonl.gz"]).name == "jsonl"
    assert choose_source(["s3://bucket/cirrus_search_index/20261115"]).name == "cirrus"
    assert choose_source(["s3://bucket/dump.json.gz"]).name == "cirrus"
    with pytest.raises(UsageError, match="several sources") as refused:
        choose_source(["sftp://user:hunter2@host/a.parquet", "sftp://user:hunter2@host/a.jsonl"])
    assert "hunter2" not in str(refused.value)


def test_without_files_it_is_the_source_that_downloads() -> None:
    assert choose_source([]).name == "cirrus"
