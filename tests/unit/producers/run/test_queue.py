"""The files of a run come from folders and stores with names that tell them apart, each once."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from pipeline.errors import UsageError
from producers.cirrus import CIRRUS_NAMES, CirrusSettings
from producers.jsonl import JSONL_NAMES, JsonlSettings
from producers.run.queue import open_queue
from producers.run.shards import Shard
from tests.waiting import wait_until


@pytest.fixture
def bucket() -> Iterator[str]:
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    store = fsspec.filesystem("memory")
    for path in ("aa/0.jsonl", "aa/1.jsonl", "bb/0.jsonl"):
        store.pipe_file(f"/{name}/{path}", json.dumps({"id": path, "text": "A text."}).encode())
    for copy in ("here", "there"):
        store.pipe_file(f"/{name}/{copy}/enwiki_content-20261115-00000.json", b"{}")
    yield f"memory://{name}"
    store.rm(f"/{name}", recursive=True)


def test_files_of_one_name_in_a_store_are_each_downloaded_and_read_once(bucket: str, tmp_path: Path) -> None:
    settings = JsonlSettings(sources=[bucket], wiki="notes", data_dir=tmp_path)
    queue = open_queue(settings, JSONL_NAMES)
    keys = [expected.key for expected in queue.expected]
    assert sorted(keys) == ["jsonl/-/-/1.jsonl", "jsonl/-/-/aa/0.jsonl", "jsonl/-/-/bb/0.jsonl"]
    queue.choose(lambda key: key != "jsonl/-/-/aa/0.jsonl")
    found: list[Shard] = []

    def all_came() -> bool:
        found.extend(filter(None, [queue.take()]))
        return queue.exhausted

    with queue:
        wait_until(all_came, "both files are downloaded")
    assert sorted(shard.key for shard in found) == ["jsonl/-/-/1.jsonl", "jsonl/-/-/bb/0.jsonl"]
    assert sorted(json.loads(shard.path.read_text())["id"] for shard in found) == ["aa/1.jsonl", "bb/0.jsonl"]


def test_two_copies_of_one_snapshot_in_a_store_are_refused(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="different files of one name"):
        open_queue(CirrusSettings(sources=[bucket], data_dir=tmp_path), CIRRUS_NAMES)
