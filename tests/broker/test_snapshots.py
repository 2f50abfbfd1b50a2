"""Snapshots that follow each other: exactly what changed is sent, and exactly what is gone is deleted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pipeline.kafka import Cluster, read_to_end
from pipeline.manifests import Entries, Manifest, manifest_parts
from pipeline.publisher import Message, Publisher
from pipeline.records import Page, decode
from pipeline.settings import Settings
from pipeline.topics import ensure_corpus
from producers.run import progress as progress_records
from tests.conftest import SettingsEnv
from tests.dumps import pair, pairs, write_shard
from tests.waiting import wait_until

FIRST, ABORTED, SECOND = "20261101", "20261108", "20261115"


class Wiki:
    """Snapshots of a wiki on disk, the commands that read them, and what they have sent."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.environment = env
        self.folder = folder
        self.settings = Settings()
        self.cluster = Cluster.connect(self.settings)
        self.topics = ensure_corpus(self.cluster, self.settings)
        self._seen = 0

    def write(self, snapshot: str, *shards: list[bytes]) -> Path:
        for number, lines in enumerate(shards):
            write_shard(self.folder / snapshot, lines, number, snapshot=snapshot)
        return self.folder / snapshot

    def read(self, snapshot: str, *flags: str, code: int = 0) -> dict[str, Any]:
        out, _ = self.command("producers.cirrus", "--json", *flags, str(self.folder / snapshot), code=code)
        return json.loads(out) if out else {}

    def finish(self, snapshot: str, *flags: str, code: int = 0) -> str:
        return self.command("producers.cirrus", "--finish", snapshot, *flags, code=code)[1]

    def ledger(self, *flags: str, code: int = 0) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.command("producers.ledger", "--json", *flags, code=code)[0])
        return found

    def command(self, module: str, *arguments: str, code: int = 0) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout, done.stderr

    def news(self) -> dict[str, Page | None]:
        """What `pages` has got since the last look; None for a deletion. No page may have come twice."""
        records = list(read_to_end(self.cluster, self.topics.pages, deadline_s=60))
        new = sorted(records, key=lambda record: (record.timestamp, record.partition, record.offset))[self._seen :]
        self._seen = len(records)
        keys = [bytes(record.key).decode() for record in new]
        assert len(set(keys)) == len(keys)
        return {
            key.partition(":")[2]: None if record.value is None else decode(record.value, Page)
            for key, record in zip(keys, new, strict=True)
        }


@pytest.fixture
def wiki(settings_env: SettingsEnv, tmp_path: Path) -> Iterator[Wiki]:
    wiki = Wiki(settings_env(progress_pages=20, progress_seconds=0.1), tmp_path / "dumps")
    yield wiki
    wiki.cluster.close()


def redirect(page_id: int) -> list[bytes]:
    return pair(page_id, page_type="redirect", text="", title=f"Redirect {page_id}")


def test_a_snapshot_sends_what_is_new_or_changed_and_its_end_deletes_what_is_gone(wiki: Wiki) -> None:
    wiki.write(FIRST, [*pairs(range(1, 8)), *redirect(20)], [*pairs(range(101, 160)), *pairs([8, 9])])
    said = wiki.read(FIRST)
    assert said["total"]["produced"] == 68
    wiki.finish(FIRST)
    assert len(wiki.news()) == 68

    # Of the snapshot in between, one shard is read to its end: 1 changes, 30 is new, 9 is gone.
    wiki.write(
        ABORTED,
        [*pair(1, text="Changed in between.", version=2), *pairs(range(2, 8)), *pairs([30])],
        [*pairs(range(101, 160)), *pairs([8])],
    )
    first_shard = next((wiki.folder / ABORTED).rglob("*-00000*"))
    wiki.command("producers.cirrus", str(first_shard))
    assert set(wiki.news()) == {"1", "30"}

    wiki.write(
        SECOND,
        [
            *pair(1),  # back to what it was: the snapshot in between had changed it
            *pair(2, text="Edited.", version=77),
            *pair(3, title="Moved", version=78),
            *pair(4, redirect=[{"namespace": 0, "title": "Another name"}]),  # a new alias makes no revision
            *pair(5, incoming_links=99, popularity_score=0.5),
            *redirect(6),
            *pairs([20]),  # a redirect that became a page
            *pairs([7, 9, 40]),  # 9 was missing in between, 40 is new
        ],
        pairs(range(101, 160)),  # without 8
    )
    said = wiki.read(SECOND)
    sent = wiki.news()
    assert set(sent) == {"1", "2", "3", "4", "20", "40"}
    assert sent["3"] is not None
    assert sent["3"].title == "Moved"
    assert sent["4"] is not None
    assert sent["4"].aliases == ("Another name",)
    assert said["total"]["dropped"] == {"redirect": 1, "unchanged": 62}
    assert said["balanced"]

    errors = wiki.finish(SECOND, "--max-deletions", "0.01", code=1)
    assert "lacks 3 of" in errors
    assert wiki.news() == {}
    assert "3 deleted" in wiki.finish(SECOND, "--max-deletions", "0.1")
    assert wiki.news() == {"6": None, "8": None, "30": None}
    wiki.finish(SECOND)
    wiki.read(SECOND)
    assert wiki.news() == {}


def test_metadata_that_moves_every_week_is_sent_only_when_asked_for(wiki: Wiki) -> None:
    wiki.write(FIRST, pairs(range(1, 11)))
    wiki.read(FIRST)
    wiki.finish(FIRST)
    wiki.news()
    wiki.write(SECOND, [*pair(1, popularity_score=0.9), *pairs(range(2, 11))])
    wiki.read(SECOND)
    assert wiki.news() == {}
    wiki.write(ABORTED[:6] + "22", [*pair(1, popularity_score=0.8), *pairs(range(2, 11))])
    wiki.read(ABORTED[:6] + "22", "--refresh-metadata")
    assert set(wiki.news()) == {"1"}


def test_what_a_broken_off_shard_sent_is_found_in_pages_itself(wiki: Wiki) -> None:
    wiki.write(FIRST, pairs(range(1, 101)))
    wiki.read(FIRST)
    wiki.finish(FIRST)
    wiki.news()
    wiki.write(ABORTED, [*pair(1, text="Changed.", version=5), *pairs([500]), *pairs(range(2, 101))])
    wiki.read(ABORTED, "--limit", "2")
    assert set(wiki.news()) == {"1", "500"}
    wiki.write(SECOND, pairs(range(1, 101)))
    wiki.read(SECOND)
    assert set(wiki.news()) == {"1"}, "its change was sent, so its old text must be sent again"
    wiki.finish(SECOND)
    assert wiki.news() == {"500": None}


def test_only_a_whole_snapshot_can_be_finished(wiki: Wiki) -> None:
    wiki.write(FIRST, pairs(range(10)), pairs(range(10, 20)), pairs(range(20, 30)))
    assert "no shard of such a snapshot" in wiki.finish(FIRST, code=2)
    shards = sorted((wiki.folder / FIRST).rglob("*.bz2"))
    wiki.command("producers.cirrus", str(shards[0]), str(shards[2]))
    assert "shard 00001 is not there" in wiki.finish(FIRST, code=1)
    assert not wiki.ledger(code=1)[0]["complete"]
    wiki.read(FIRST)
    [account] = wiki.ledger()
    assert account["complete"]
    assert not account["finished"]
    assert account["total"]["produced"] == 30
    assert [shard["state"] for shard in account["shards"]] == ["finished"] * 3
    wiki.finish(FIRST)
    assert wiki.ledger()[0]["finished"]


def test_with_other_choices_nothing_is_skipped_and_nothing_deleted(wiki: Wiki) -> None:
    wiki.write(FIRST, pairs(range(1, 11)))
    wiki.read(FIRST)
    wiki.finish(FIRST)
    wiki.news()
    wiki.write(SECOND, pairs(range(1, 10)))
    wiki.read(SECOND, "--min-length", "10")
    assert len(wiki.news()) == 9
    assert "other pages were chosen" in wiki.finish(SECOND, "--max-deletions", "1", code=2)
    assert wiki.news() == {}


def test_titles_of_a_list_that_no_page_has_are_named(wiki: Wiki, tmp_path: Path) -> None:
    wiki.write(FIRST, pairs(range(1, 4)), pairs(range(4, 7)))
    (tmp_path / "list").write_text("\ufeff2\nPage_5\nNowhere\n99\n")
    said = wiki.command("producers.cirrus", "--pages-file", str(tmp_path / "list"), str(wiki.folder / FIRST))[1]
    assert '"first": ["99", "Nowhere"]' in said
    assert set(wiki.news()) == {"2", "5"}
    said = wiki.command("producers.cirrus", "--pages-file", str(tmp_path / "list"), str(wiki.folder / FIRST))[1]
    assert "Nowhere" not in said, "this run has read nothing"


def test_a_garbled_document_deletes_no_page(wiki: Wiki) -> None:
    wiki.write(FIRST, pairs(range(1, 41)))
    wiki.read(FIRST)
    wiki.finish(FIRST)
    wiki.news()
    action, document = pair(7)
    wiki.write(
        SECOND,
        [
            *pairs(range(1, 7)),
            *(action, document[:50]),
            *pair(8, title=5),
            *(pair(9)[0], pair(10)[1]),  # the lines between them are lost
            *pairs(range(11, 40)),
        ],
    )
    said = wiki.read(SECOND)
    assert said["total"]["malformed"] == {"not_json": 1, "id_mismatch": 1}
    assert "1 deleted" in wiki.finish(SECOND, "--max-deletions", "0.1")
    assert wiki.news() == {"40": None}

    third = SECOND[:6] + "22"
    wiki.write(third, pairs(range(1, 40)))
    wiki.read(third)
    assert set(wiki.news()) == {"7", "8", "9", "10"}, "what nobody could read counts as changed"


def test_an_entry_that_may_be_any_page_keeps_a_snapshot_from_being_finished(wiki: Wiki) -> None:
    wiki.write(FIRST, pairs(range(1, 41)))
    wiki.read(FIRST)
    wiki.finish(FIRST)
    wiki.news()
    wiki.write(SECOND, [*pairs(range(1, 40)), b'{"index":{"_id":4', b'{"title":"P'])
    wiki.read(SECOND)
    errors = wiki.finish(SECOND, "--max-deletions", "1", code=1)
    assert "2 entries could not be read and do not say which page they are" in errors
    assert "--accept-unreadable 2" in errors
    assert wiki.news() == {}
    assert wiki.ledger("--snapshot", SECOND)[0]["unnamed"] == 2
    assert "1 deleted" in wiki.finish(SECOND, "--max-deletions", "1", "--accept-unreadable", "2")


def test_a_snapshot_unlike_the_last_one_is_not_finished(wiki: Wiki) -> None:
    wiki.write(FIRST, pairs(range(1, 101)))
    wiki.read(FIRST)
    wiki.finish(FIRST)
    wiki.news()
    wiki.write(SECOND, [line for n in range(1, 51) for line in pair(n, category=None)])
    wiki.read(SECOND)
    errors = wiki.finish(SECOND, "--max-deletions", "1", code=1)
    assert (
        f"{SECOND} is not like {FIRST}: 50 documents after 100; categories in 0.0% of the pages after 100.0%" in errors
    )
    assert wiki.news() == {}
    assert "50 deleted" in wiki.finish(SECOND, "--max-deletions", "1", "--accept-shape")


def test_a_shard_that_an_earlier_version_could_not_read_in_full_is_read_again_and_sent_once(wiki: Wiki) -> None:
    wiki.write(FIRST, pairs(range(1, 41)))
    wiki.read(FIRST)
    wiki.finish(FIRST)
    wiki.write(SECOND, [*pairs(range(1, 40)), pair(40)[0], b"{"])
    wiki.read(SECOND)
    wiki.news()
    found = wiki_progress(wiki)
    assert found is not None
    key, record = found
    old = msgspec.to_builtins(record)
    del old["shape"]  # as 8c9e2ef wrote it, and its manifest without the page
    blank = Manifest(
        wiki="enwiki", snapshot=SECOND, shard=key.decode(), options=record.options, pages_topic=record.pages_topic
    )
    ids = np.arange(1, 40, dtype=np.uint64)
    [manifest] = manifest_parts(Entries(ids, ids, ids), blank)
    with Publisher(wiki.cluster) as publisher:
        for name, value in ((key, old), (manifest.key, manifest)):
            publisher.publish([Message(wiki.topics.progress, name, msgspec.msgpack.encode(value))]).wait(30)
    assert "an earlier version noted no ids" in wiki.finish(SECOND, "--max-deletions", "1", code=1)
    wiki.read(SECOND)
    assert wiki.news() == {}
    assert "0 deleted" in wiki.finish(SECOND)


def test_a_manifest_that_cannot_be_read_deletes_nothing(wiki: Wiki) -> None:
    wiki.write(FIRST, pairs(range(1, 41)))
    wiki.read(FIRST)
    wiki.finish(FIRST)
    wiki.write(SECOND, pairs(range(1, 41)))
    wiki.read(SECOND)
    wiki.news()
    found = wiki_progress(wiki)
    assert found is not None
    with Publisher(wiki.cluster) as publisher:
        name = b"manifest/" + found[0] + b"/0"
        publisher.publish([Message(wiki.topics.progress, name, b"garbage")]).wait(30)
    assert "no whole manifest" in wiki.finish(SECOND, "--max-deletions", "1", code=1)
    assert wiki.news() == {}


def test_two_producers_share_a_snapshot_and_either_may_finish_it(wiki: Wiki) -> None:
    wiki.write(FIRST, pairs(range(10)), pairs(range(10, 20)), pairs(range(20, 30)))
    first = wiki.read(FIRST, "--shard-index", "0", "--shard-count", "2")
    assert len(first["shards"]) == 2
    assert "00001.json.bz2 has not been read" in wiki.finish(FIRST, code=1)
    wiki.environment["JOB_COMPLETION_INDEX"] = "1"
    second = wiki.read(FIRST, "--shard-count", "2")
    assert [shard["shard"] for shard in second["shards"]] == [f"enwiki_content-{FIRST}-00001.json.bz2"]
    assert len(wiki.news()) == 30
    del wiki.environment["JOB_COMPLETION_INDEX"]
    wiki.finish(FIRST)
    assert "--shard-index 2" in wiki.command("producers.cirrus", "--shard-index", "2", str(wiki.folder), code=2)[1]


def test_a_producer_whose_shard_is_advanced_by_another_run_stops_to_be_tried_again(wiki: Wiki) -> None:
    text = "What happened there is told at some length. " * 60
    path = wiki.folder / f"enwiki_content-{FIRST}-00000.json"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for page_id in range(150_000):
            file.write(b"\n".join(pair(page_id, text=f"{page_id}: {text}")) + b"\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "producers.cirrus", str(path)],
        env=wiki.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: wiki_progress(wiki) is not None, "its progress")
        found = wiki_progress(wiki)
        assert found is not None
        key, record = found
        foreign = msgspec.structs.replace(record, run="another")
        with Publisher(wiki.cluster) as publisher:
            message = Message(wiki.topics.progress, key, progress_records.encode(foreign))
            publisher.publish([message]).wait(30)
        errors = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 75, errors
    assert "run another reads it too" in errors


def wiki_progress(wiki: Wiki) -> tuple[bytes, progress_records.Progress] | None:
    """The newest progress of any shard, with its key."""
    found = None
    for record in read_to_end(wiki.cluster, wiki.topics.progress, deadline_s=30):
        if bytes(record.key).startswith(b"cirrus/") and record.value is not None:
            progress = progress_records.decode(record.value)
            found = (bytes(record.key), progress) if progress is not None else found
    return found
