"""One shard into a Kafka in memory: what is sent, written down and said of a file, and in which state it ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from bench.in_memory import InMemoryKafka
from pipeline.errors import CheckFailed
from pipeline.kafka import Cluster
from pipeline.publisher import Publisher
from pipeline.topics import corpus_topics
from producers.run.processes import Report, ShardJob
from producers.run.progress import PagesTopic, Progress, begin, decode
from producers.run.shard import ShardRun
from producers.run.shards import find_shards
from producers.run.source import source_named
from tests.dumps import joined, pair

PAGES = PagesTopic("pages-id", {0: 0})


class Ended(NamedTuple):
    """A shard that was read."""

    state: str
    error: str
    progress: Progress
    keys: list[str]
    """Of the pages in Kafka, in their order, those of earlier runs too."""


@pytest.fixture
def produce() -> Iterator[Callable[..., Ended]]:
    cluster = InMemoryKafka()
    publisher = Publisher(cast("Cluster", cluster))

    def run(name: str, path: Path, start: Progress | None = None, limit: int | None = None, **chosen: Any) -> Ended:
        source = source_named(name)
        settings = source.settings(**chosen)
        topics = corpus_topics(settings)
        if not cluster.partitions(topics.pages):
            for topic in (topics.pages, topics.progress, topics.dead_letters):
                cluster.create(topic, 1)
        (shard,) = find_shards([str(path)], source.names_for(settings))
        job = ShardJob(
            path=str(path),
            key=shard.key,
            start=start or begin(shard, "run", settings.options, PAGES),
            settings=settings.model_dump_json(),
            limit=limit,
        )
        reports: list[Report] = []
        shard_run = ShardRun(
            job,
            settings,
            reader=source.reader(shard, settings),
            gate=source.gate(settings, job),
            publisher=publisher,
            report=reports.append,
        )
        state, error = "failed", ""
        try:
            state = shard_run.run(threading.Event())
        except CheckFailed as failed:
            error = str(failed)
        written = decode(records(topics.progress)[-1].value)
        assert written is not None
        assert written.ledger.balanced
        return Ended(state, error, written, [record.key.decode() for record in records(topics.pages)])

    def records(topic: str) -> list[Any]:
        (partition,) = cluster.partitions(topic)
        return cluster.at(partition).records

    yield run
    publisher.abandon()


def lines(*records: dict[str, object] | str) -> bytes:
    return joined([(one if isinstance(one, str) else json.dumps(one)).encode() for one in records])


UNUSABLE = {
    "no ids that a page can have": lines({"id": "a" * 300, "text": "x"}, {"id": "b" * 300, "text": "y"}),
    "nothing in the fields": lines({"id": 1}, {"text": "x"}, {"id": True, "text": "x"}),
    "no JSON": lines("id,text", "1,x"),
    "one line that is no JSON": lines("id,text"),
}


@pytest.mark.parametrize("content", UNUSABLE.values(), ids=UNUSABLE)
def test_a_file_of_which_nothing_can_be_used_fails_and_is_read_from_its_start_next_time(
    produce: Callable[..., Ended], tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(content)
    count = content.count(b"\n")
    ended = produce("jsonl", path)
    assert ended.state == "failed"
    assert f"{path}: none of its {count} records could be used (" in ended.error
    assert "producers.jsonl --help" in ended.error
    assert (ended.progress.finished, ended.progress.ledger.read, ended.keys) == (False, count, [])
    (shard,) = find_shards([str(path)], source_named("jsonl").names)
    assert "could be used" in ended.progress.fits(shard, ended.progress.options, PAGES.id)


USABLE: dict[str, tuple[bytes, dict[str, object]]] = {
    "all left out by choice": (lines({"id": 1, "text": "x"}, {"id": 2, "text": "y"}), {"min_length": 10}),
    "no text in any": (lines({"id": 1, "text": " "}, {"id": 2, "text": ""}), {}),
    "one record that lacks its id": (lines({"text": "x"}), {}),
    "one good record of many": (lines("id,text", "1,x", {"id": 1, "text": "x"}), {}),
    "nothing at all": (b"", {}),
    "blank lines": (b"\n\n \n", {}),
}


@pytest.mark.parametrize(("content", "chosen"), USABLE.values(), ids=USABLE)
def test_a_file_of_which_everything_was_left_out_by_choice_is_finished(
    produce: Callable[..., Ended], tmp_path: Path, content: bytes, chosen: dict[str, object]
) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(content)
    ended = produce("jsonl", path, **chosen)
    assert (ended.state, ended.error, ended.progress.finished) == ("finished", "", True)


@pytest.mark.parametrize("fields", ["", "---\ntitle: Weir\n---\n"])
def test_a_note_without_the_field_that_is_the_id_is_counted_and_is_no_failure_of_the_others(
    produce: Callable[..., Ended], tmp_path: Path, fields: str
) -> None:
    path = tmp_path / "note.md"
    path.write_text(f"{fields}Text.")
    ended = produce("markdown", path, root=tmp_path, id_field="slug")
    assert (ended.state, ended.progress.ledger.dropped) == ("finished", {"missing_id": 1})


def test_a_shard_of_a_snapshot_that_cannot_be_read_is_its_ledgers_matter(
    produce: Callable[..., Ended], tmp_path: Path
) -> None:
    path = tmp_path / "enwiki_content-20261115-00000.json"
    path.write_bytes(b"no JSON\nno more\n")
    ended = produce("cirrus", path)
    assert (ended.state, ended.progress.finished) == ("finished", True)
    assert ended.progress.ledger.malformed


def test_redirects_alone_are_a_whole_shard_of_a_dump(produce: Callable[..., Ended], tmp_path: Path) -> None:
    path = tmp_path / "enwiki_content-20261115-00000.json"
    path.write_bytes(joined([*pair(1, page_type="redirect"), *pair(2, page_type="redirect")]))
    ended = produce("cirrus", path)
    assert (ended.state, ended.progress.ledger.dropped) == ("finished", {"redirect": 2})


@pytest.mark.parametrize("name", ["jsonl", "cirrus"])
def test_a_limit_is_counted_over_all_runs_and_the_rest_is_sent_without_one(
    produce: Callable[..., Ended], tmp_path: Path, name: str
) -> None:
    path = tmp_path / {"jsonl": "notes.jsonl", "cirrus": "enwiki_content-20261115-00000.json"}[name]
    numbers = range(1, 9)
    notes = lines(*({"id": number, "text": "x"} for number in numbers))
    path.write_bytes(notes if name == "jsonl" else joined([line for number in numbers for line in pair(number)]))
    first = produce(name, path, limit=3)
    assert (first.state, first.progress.ledger.produced) == ("limited", 3)
    second = produce(name, path, first.progress, limit=5)
    assert (second.state, second.progress.ledger.produced) == ("limited", 5)
    last = produce(name, path, second.progress)
    assert (last.state, last.progress.ledger.produced) == ("finished", 8)
    assert [int(key.partition(":")[2]) for key in last.keys] == list(numbers)
