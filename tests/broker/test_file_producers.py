"""The producers of files besides CirrusSearch's, through their commands, against a real Kafka."""

from __future__ import annotations

import bz2
import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.local.extract import extract
from pipeline.errors import TryAgain
from pipeline.kafka import Cluster, read_to_end
from pipeline.records import Page, decode
from pipeline.settings import Settings
from pipeline.topics import ensure_corpus
from tests.conftest import SettingsEnv

RUN_SECONDS = 240


class Commands:
    """Runs a producer as an operator would, and looks at what is in `pages`."""

    def __init__(self, env: dict[str, str]) -> None:
        self.environment = env
        settings = Settings()
        self.cluster = Cluster.connect(settings)
        self.topics = ensure_corpus(self.cluster, settings)

    def run(self, producer: str, *arguments: object, code: int = 0) -> tuple[dict[str, Any], str]:
        """The JSON document and the errors of a run that must end with `code`."""
        done = subprocess.run(
            [sys.executable, "-m", f"producers.{producer}", "--json", *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return (json.loads(done.stdout) if done.stdout else {}), done.stderr

    def pages(self) -> dict[str, Page]:
        """The newest page of each key."""
        records = read_to_end(self.cluster, self.topics.pages, deadline_s=60)
        found = [decode(record.value, Page) for record in records if record.value is not None]
        return {page.key: page for page in found}


@pytest.fixture
def commands(settings_env: SettingsEnv) -> Iterator[Commands]:
    commands = Commands(settings_env(progress_pages=20, progress_seconds=0.1))
    yield commands
    commands.cluster.close()


def paper(number: int) -> dict[str, object]:
    return {
        "id": f"2611.{number:05}",
        "authors": "Ada Lovelace",
        "title": f"On the\n  number {number}",
        "categories": "math.NT cs.CC",
        "abstract": f"  We count\nto {number}.\n",
        "versions": [{"version": "v1", "created": "Mon, 2 Nov 2026 19:18:42 GMT"}],
        "update_date": "2026-11-03",
    }


def test_json_lines_reach_kafka_once_with_an_account_of_every_line(commands: Commands, tmp_path: Path) -> None:
    lines = [json.dumps(paper(number)) for number in range(60)]
    path = tmp_path / "arxiv-metadata-oai-snapshot.json.gz"
    path.write_bytes(gzip.compress("\n".join([*lines[:30], "", '{"id": 5', *lines[30:]]).encode()))
    said, errors = commands.run("jsonl", path, code=2)
    assert "no text in its first 60 records" in errors
    assert "abstract" in errors
    assert not commands.pages()
    said, _ = commands.run("jsonl", path, "--preset", "arxiv", "--limit", 40)
    assert said["total"]["produced"] == 40
    said, _ = commands.run("jsonl", path, "--preset", "arxiv")
    assert (said["sent_now"], said["balanced"]) == (20, True)
    assert (said["total"]["produced"], said["total"]["malformed"]) == (60, {"not_json": 1})
    found = commands.pages()
    assert len(found) == 60
    page = found["arxiv:2611.00007"]
    assert (page.title, page.text) == ("On the number 7", "We count to 7.")
    assert json.loads(page.metadata)["submitted"] == "2026-11-02T19:18:42Z"
    said, _ = commands.run("jsonl", path, "--preset", "arxiv")
    assert [shard["state"] for shard in said["shards"]] == ["skipped"]
    said, _ = commands.run("jsonl", path, "--text-fields", "title,abstract", "--wiki", "papers")
    assert said["total"]["produced"] == 60, "another corpus from the same file"
    assert commands.pages()["papers:2611.00007"].text == "On the\n  number 7\n\n  We count\nto 7.\n"


def test_parquet_files_reach_kafka_and_a_broken_one_stops_no_other(commands: Commands, tmp_path: Path) -> None:
    for name, first in (("a", 0), ("b", 100)):
        numbers = list(range(first, first + 50))
        rows = pa.table({"nr": numbers, "body": [f"Story {n}." for n in numbers], "year": [2026] * 50})
        pq.write_table(rows, tmp_path / f"{name}.parquet", row_group_size=20)
    whole = (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[:-9])
    _, errors = commands.run("parquet", tmp_path, code=2)
    assert "no column id; there are nr, body, year" in errors
    mapped = ("--id-field", "nr", "--text-fields", "body", "--wiki", "stories")
    said, errors = commands.run("parquet", tmp_path, *mapped, code=1)
    assert f"{tmp_path}/b.parquet: cut off" in errors
    assert said["total"]["produced"] == 50
    (tmp_path / "b.parquet").write_bytes(whole)
    said, _ = commands.run("parquet", tmp_path, *mapped)
    assert (said["sent_now"], said["total"]["produced"], said["balanced"]) == (50, 100, True)
    found = commands.pages()
    assert len(found) == 100
    assert (found["stories:107"].text, found["stories:107"].metadata) == ("Story 107.", '{"year":2026}')


def test_an_export_of_mediawiki_reaches_kafka_without_its_redirects(commands: Commands, tmp_path: Path) -> None:
    try:
        real = extract(Path("data/downloads"))
    except TryAgain as error:
        pytest.skip(str(error))
    path = tmp_path / "enwiki-20160501-pages-articles1.xml-p10p30302.bz2"
    path.write_bytes(bz2.compress(real))
    said, _ = commands.run("wikitext", path, "--limit", 30)
    assert said["total"]["produced"] == 30
    said, _ = commands.run("wikitext", path)
    assert (said["sent_now"], said["balanced"]) == (76, True)
    assert (said["total"]["read"], said["total"]["dropped"]) == (206, {"redirect": 100})
    found = commands.pages()
    assert len(found) == 106
    page = found["enwiki:12"]
    assert (page.title, page.snapshot, page.language) == ("Anarchism", "20160501", "en")
    assert page.text.startswith("Anarchism is")
    (tmp_path / "other.xml").write_text("<html></html>")
    _, errors = commands.run("wikitext", tmp_path / "other.xml", code=2)
    assert "no MediaWiki export" in errors


def test_files_of_another_kind_than_their_names_are_told_and_those_beside_them_are_sent(
    commands: Commands, tmp_path: Path
) -> None:
    line = '{"id": "%s", "text": "A note about the harbour."}\n'
    (tmp_path / "marked.jsonl").write_text(line % "marked", encoding="utf-8-sig")
    (tmp_path / "packed.jsonl").write_bytes(gzip.compress((line % "packed").encode()))
    (tmp_path / "plain.jsonl.gz").write_text(line % "plain")
    (tmp_path / "wide.jsonl").write_text(line % "wide", encoding="utf-16")
    said, errors = commands.run("jsonl", "--wiki", "notes", tmp_path, code=1)
    assert [key.partition(":")[2] for key in commands.pages()] == ["marked"]
    assert {shard["shard"]: shard["state"] for shard in said["shards"]} == {
        "marked.jsonl": "finished",
        "packed.jsonl": "failed",
        "plain.jsonl.gz": "failed",
        "wide.jsonl": "failed",
    }
    for name, sentence in (
        ("packed.jsonl", "it is compressed with gzip: `mv packed.jsonl packed.jsonl.gz`"),
        ("plain.jsonl.gz", "it is text, and not compressed: `mv plain.jsonl.gz plain.jsonl`"),
        ("wide.jsonl", "it is text in UTF-16: `iconv -f UTF-16 -t UTF-8 wide.jsonl > new-wide.jsonl`"),
    ):
        assert f"{tmp_path / name}: {sentence}\n" in errors
    (tmp_path / "packed.jsonl").rename(tmp_path / "packed.jsonl.gz")
    (tmp_path / "plain.jsonl.gz").rename(tmp_path / "plain.jsonl")
    (tmp_path / "wide.jsonl").write_text(line % "wide")
    commands.run("jsonl", "--wiki", "notes", tmp_path)
    assert sorted(page.page_id for page in commands.pages().values()) == ["marked", "packed", "plain", "wide"]


def test_files_of_one_name_in_several_folders_are_all_read_and_none_again(commands: Commands, tmp_path: Path) -> None:
    for config in ("20231101.aa", "20231101.bb"):
        (tmp_path / config).mkdir()
        table = pa.table({"id": [f"{config}-1"], "text": ["A mill stands by the river."]})
        pq.write_table(table, tmp_path / config / "train-00000-of-00001.parquet")
    alone, _ = commands.run("parquet", "--wiki", "mills", tmp_path / "20231101.aa")
    assert [shard["shard"] for shard in alone["shards"]] == ["train-00000-of-00001.parquet"]
    both, _ = commands.run("parquet", "--wiki", "mills", tmp_path)
    assert {shard["shard"]: shard["state"] for shard in both["shards"]} == {
        "20231101.aa/train-00000-of-00001.parquet": "skipped",
        "20231101.bb/train-00000-of-00001.parquet": "finished",
    }
    assert both["sent_now"] == 1
    again, _ = commands.run("parquet", "--wiki", "mills", tmp_path / "20231101.bb")
    assert again["sent_now"] == 0
    assert sorted(page.page_id for page in commands.pages().values()) == ["20231101.aa-1", "20231101.bb-1"]


def test_notes_that_changed_or_were_moved_are_sent_and_none_is_lost_or_sent_twice(
    commands: Commands, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    for name in ("river/index.md", "pond/index.md", "weir.md"):
        (notes / name).parent.mkdir(parents=True, exist_ok=True)
        (notes / name).write_text("---\ntitle: A note\nslug: one\n---\nThe mill is old.\n\n---\n\nIt stands still.\n")
    wanted = ("--wiki", "notes", "--root", notes)
    first, _ = commands.run("markdown", notes, *wanted)
    assert (first["sent_now"], first["balanced"]) == (3, True)
    assert {key: page.text for key, page in commands.pages().items()} == dict.fromkeys(
        ("notes:river/index.md", "notes:pond/index.md", "notes:weir.md"), "The mill is old.\n\n---\n\nIt stands still."
    )
    (notes / "weir.md").rename(notes / "river/weir.md")
    (notes / "pond/index.md").write_text("It turns again.")
    second, _ = commands.run("markdown", notes, *wanted)
    assert {shard["shard"]: shard["state"] for shard in second["shards"]} == {
        "pond/index.md": "finished",
        "river/index.md": "skipped",
        "river/weir.md": "finished",
    }
    assert second["sent_now"] == 2
    assert commands.pages()["notes:pond/index.md"].text == "It turns again."
    by_slug, _ = commands.run("markdown", notes, "--wiki", "slugs", "--root", notes, "--id-field", "slug")
    assert (by_slug["total"]["produced"], by_slug["total"]["dropped"]) == (2, {"missing_id": 1})


def test_a_file_of_which_nothing_can_be_used_ends_with_1_and_is_read_again_each_time(
    commands: Commands, tmp_path: Path
) -> None:
    (tmp_path / "good.jsonl").write_text('{"id": 1, "text": "A mill."}\n')
    bad = tmp_path / "bad.jsonl"
    bad.write_text("id,text\n1,A mill.\n")
    for sent in (1, 0):
        said, errors = commands.run("jsonl", "--wiki", "mills", tmp_path, code=1)
        assert f"{bad}: none of its 2 records could be used (2 not_json)" in errors
        assert (said["sent_now"], said["balanced"]) == (sent, True)
    bad.write_text('{"id": 2, "text": "A weir."}\n')
    said, _ = commands.run("jsonl", "--wiki", "mills", tmp_path)
    assert (said["sent_now"], sorted(commands.pages())) == (1, ["mills:1", "mills:2"])
