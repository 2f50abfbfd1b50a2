"""What the user names becomes shards, each once, or one clear error."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from producers.cirrus import CIRRUS_NAMES, CirrusSettings, origin_of
from producers.jsonl import JSONL_NAMES
from producers.run.progress import PagesTopic, begin, decode, encode
from producers.run.shards import Origin, Shard, find_shards, open_shard
from tests.dumps import pair, write_legacy, write_shard

PAGES = PagesTopic("pages-id", {0: 0})


def names(*sources: str | Path) -> list[str]:
    return [shard.name for shard in find_shards(map(str, sources), CIRRUS_NAMES)]


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    for number in (10, 2, 0):
        write_shard(tmp_path, pair(number + 1), number)
    write_legacy(tmp_path, pair(1, "legacy"))
    for other in ("settings.json", "notes.txt", "_SUCCESS", "x.json.bz2.part", ".hidden.json.gz"):
        (tmp_path / other).write_text("{}")
    return tmp_path


def test_a_folder_means_the_dump_files_in_it_and_nothing_else(dump: Path) -> None:
    assert names(dump) == [
        "enwiki-20251229-cirrussearch-content.json.gz",
        "enwiki_content-20261115-00000.json.bz2",
        "enwiki_content-20261115-00002.json.bz2",
        "enwiki_content-20261115-00010.json.bz2",
    ]


def test_a_glob_and_a_folder_that_meet_read_each_file_once(dump: Path) -> None:
    assert len(names(dump, f"{dump}/**/*-0000?.json.bz2", next(dump.rglob("*.gz")))) == 4
    assert len(names(f"{dump}/**/*-0000?.json.bz2")) == 2
    assert len(names(f"{dump}/index_name=*")) == 3


def test_a_plain_json_file_is_read_when_it_is_named(dump: Path) -> None:
    assert names(dump / "settings.json") == ["settings.json"]


@pytest.mark.parametrize("source", ["nowhere", "empty", "*.bz2", "notes.txt", "s3://bucket/dump"])
def test_a_source_without_a_dump_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError) as error:
        find_shards([source], CIRRUS_NAMES)
    assert str(error.value).startswith(source)
    assert "\n" not in str(error.value)


def test_no_source_at_all_is_wrong_use() -> None:
    with pytest.raises(UsageError):
        find_shards([], CIRRUS_NAMES)


def test_two_files_of_one_name_are_told_apart_or_refused(tmp_path: Path) -> None:
    first = write_shard(tmp_path / "a", pair(1))
    write_shard(tmp_path / "b", pair(1))
    assert names(tmp_path) == [first.name]
    write_shard(tmp_path / "b", pair(2))
    with pytest.raises(UsageError, match="different files of one name"):
        find_shards([str(tmp_path)], CIRRUS_NAMES)


def dataset(folder: Path, *names: str) -> list[Shard]:
    """The shards of a folder with files of these names, each with another content."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps({"id": name, "text": "A text."}))
    return find_shards([str(folder)], JSONL_NAMES)


def test_files_of_one_name_in_several_folders_are_several_shards(tmp_path: Path) -> None:
    files = ["20231101.aa/0.jsonl", "20231101.aa/1.jsonl", "20231101.bb/0.jsonl", "20231101.bb/2.jsonl"]
    found = dataset(tmp_path / "hugging face", *files)
    assert [shard.name for shard in found] == ["20231101.aa/0.jsonl", "1.jsonl", "20231101.bb/0.jsonl", "2.jsonl"]
    assert [shard.key for shard in found][:2] == ["jsonl/-/-/20231101.aa/0.jsonl", "jsonl/-/-/1.jsonl"]
    assert [shard.path for shard in found] == [(tmp_path / "hugging face" / name).resolve() for name in files]
    parts = [f"{part}/a.jsonl" for part in ("year=1/lang=de", "year=2/lang=de", "year=2/lang=fr")]
    assert [shard.name for shard in dataset(tmp_path / "hive", *parts)] == parts


def test_the_progress_of_a_file_is_found_whatever_was_beside_it_when_it_was_read(tmp_path: Path) -> None:
    (alone,) = dataset(tmp_path / "aa", "0.jsonl")
    assert alone.key == "jsonl/-/-/0.jsonl", "as every version before had it"
    beside = dataset(tmp_path, "aa/0.jsonl", "bb/0.jsonl")[0]
    assert beside.key == "jsonl/-/-/aa/0.jsonl"
    assert alone.key in beside.other_keys
    assert beside.key in alone.other_keys
    assert beside.key not in beside.other_keys


@pytest.mark.parametrize(
    ("path", "wiki", "snapshot"),
    [
        ("x/index_name=enwiki_content/enwiki_content-20261115-00003.json.bz2", "enwiki", "20261115"),
        ("zh_min_nanwiki_content-20261115-00003.json.bz2", "zh_min_nanwiki", "20261115"),
        ("enwiki-20251229-cirrussearch-content.json.gz", "enwiki", "20251229"),
        ("20261115/index_name=dewiki_content/part-7.json.gz", "dewiki", "20261115"),
        ("dump.json", "", ""),
    ],
)
def test_wiki_and_snapshot_are_read_from_the_name(path: str, wiki: str, snapshot: str) -> None:
    assert origin_of(Path(path)) == Origin(wiki, snapshot)


def test_progress_fits_only_the_same_file_read_in_the_same_way(tmp_path: Path) -> None:
    path = write_shard(tmp_path, pair(1))
    options = CirrusSettings(namespaces="0").options
    before = decode(encode(begin(open_shard(path, CIRRUS_NAMES), "run", options, PAGES)))
    assert before is not None
    assert before.fits(open_shard(path, CIRRUS_NAMES), options, PAGES.id) == ""
    assert before.fits(open_shard(path, CIRRUS_NAMES), CirrusSettings(namespaces="0,4").options, PAGES.id) != ""


@pytest.mark.parametrize("place", [0, 65_535, -65_536, -1])
def test_a_file_of_the_same_size_with_another_end_is_another_file(tmp_path: Path, place: int) -> None:
    path = tmp_path / "enwiki_content-20261115-00000.json"
    path.write_bytes(bytes(300_000))
    before = begin(open_shard(path, CIRRUS_NAMES), "run", CirrusSettings().options, PAGES)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert (
        before.fits(open_shard(path, CIRRUS_NAMES), CirrusSettings().options, PAGES.id)
        == "the file is another one than before"
    )


def test_bytes_that_are_no_progress_are_none() -> None:
    assert decode(b"\xc1 nonsense") is None
    assert decode(b"") is None


def test_progress_counts_for_nothing_when_pages_is_another_topic(tmp_path: Path) -> None:
    path = tmp_path / "enwiki_content-20261115-00000.json"
    path.write_bytes(b"{}")
    shard, options = open_shard(path, CIRRUS_NAMES), CirrusSettings().options
    before = begin(shard, "run", options, PAGES)
    assert before.fits(shard, options, "another-id") == "the topic pages is another one than before"


@pytest.mark.parametrize("name", [b"caf\xe9.jsonl", b"caf\xe9/notes.jsonl"])
def test_a_name_that_is_no_utf_8_is_named_before_anything_is_sent(tmp_path: Path, name: bytes) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"id": 1, "text": "x"}')
    with pytest.raises(UsageError, match=r"caf\\xe9.*no UTF-8: rename it"):
        find_shards([str(tmp_path)], JSONL_NAMES)
