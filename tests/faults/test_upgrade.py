"""Everything that commit 8c9e2ef made, opened by today's code: a table, topics with unread records in each of them, a
finished and a half read snapshot, a wiki followed live, dead letters. Then one version back, and forth again."""

from __future__ import annotations

import bz2
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.local.sample import SNAPSHOT, WIKI, write_sample
from pipeline import model_files, topics
from pipeline.errors import Exit
from pipeline.kafka import Cluster, read_to_end
from pipeline.metrics import Metrics
from pipeline.publisher import Message, Publisher
from pipeline.settings import ModelSettings, TableSettings
from tests import older
from tests.conftest import SettingsEnv
from tests.dumps import joined
from tests.faults.world import Replica
from tests.waiting import wait_until
from tests.wiki_server import FakeWiki, Served, served

FOLLOWED = "testwiki"
SECOND = "20160508"
GONE = 3
"""Articles that the second snapshot lacks; as many have another text in it, and as many are new."""

NOT_MSGPACK = b"\xc1"
TEXTS = {
    1: "Amber is the resin of trees that died millions of years ago. Insects are found in it.",
    2: "A lighthouse is a tower that shows ships the way at night.",
    3: "Bread is baked from flour, water and yeast.",
    4: "A glacier is a river of ice that moves by its own weight.",
}
VIOLIN = "A violin is an instrument with four strings, played with a bow."
STAGES = {"chunk": "consumers.chunk", "embed": "consumers.embed", "lance": "sinks.lance", "live": "producers.live"}


@dataclass
class Site:
    """One pipeline on the test's Kafka, worked on by this code or by the older one."""

    folder: Path
    environments: dict[str, dict[str, str]]
    live: dict[str, str]
    code: str = "older"

    def __post_init__(self) -> None:
        settings = ModelSettings()
        self.cluster = Cluster.connect(settings)
        self.corpus = topics.corpus_topics(settings)
        self.model = topics.model_topics(settings, model_files.resolve(settings, weights=False).tag)
        self.group = topics.lance_group(settings, TableSettings().table)
        self.running: dict[str, Replica] = {}
        self.starts = 0

    def command(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self._done(module, *arguments)
        assert done.returncode == 0, f"{self.code} {module}: {done.returncode}: {done.stderr[-3000:]}"
        return done

    def assert_refused(self, module: str, says: str) -> None:
        done = self._done(module)
        assert done.returncode == Exit.FATAL, f"{self.code} {module}: {done.returncode}: {done.stderr[-3000:]}"
        assert says in done.stderr

    def _done(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=self.environments[self.code],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def asked(self, module: str, *arguments: str) -> Any:
        """The document that it prints."""
        return json.loads(self.command(module, *arguments, "--json").stdout)

    def start(self, *stages: str) -> None:
        for stage in stages:
            self.starts += 1
            environment = self.environments[self.code] | (self.live if stage == "live" else {})
            log = self.folder / "logs" / f"{self.starts:02}-{self.code}-{stage}.log"
            self.running[stage] = Replica(f"{self.code} {stage}", [STAGES[stage]], environment, log)
            self.running[stage].start()

    def stop(self, *stages: str) -> None:
        """Asks them to end, as an operator does before an upgrade; each must end well."""
        for stage in stages:
            self.running[stage].send(signal.SIGTERM)
        for stage in stages:
            replica = self.running.pop(stage)
            wait_until(lambda replica=replica: not replica.runs, f"{replica.name} has ended")
            assert replica.ended() == 0, replica.last_words()

    def until(self, condition: Any, what: str) -> None:
        def holds() -> bool:
            for replica in self.running.values():
                assert replica.runs, f"{replica.name} ended with {replica.ended()}: {replica.last_words()}"
            return bool(condition())

        wait_until(holds, what, 180)

    def until_read(self, group: str, topic: str) -> None:
        """Returns when this group has done all that its topic holds."""

        def read() -> bool:
            committed = self.cluster.committed(group, topic)
            return all(committed.get(p, 0) >= end for p, end in self.cluster.log(topic).ends.items())

        self.until(read, f"{group} has read {topic}")

    def until_stored(self) -> None:
        self.until_read(self.model.chunk_group, self.corpus.pages)
        self.until_read(self.model.embed_group, self.model.chunks)
        self.until_read(self.group, self.model.vectors)

    def poison(self, topic: str) -> None:
        """A record in this topic that no stage can read."""
        with Publisher(self.cluster, Metrics("test")) as publisher:
            publisher.publish([Message(topic, f"{WIKI}:999999999".encode(), NOT_MSGPACK, 0)]).wait(60)

    def sent(self) -> int:
        return sum(1 for _ in read_to_end(self.cluster, self.corpus.pages, deadline_s=60))

    def assert_verified(self) -> None:
        report = self.asked("sinks.verify")
        assert report["ok"], report

    def first_hit(self, question: str) -> str:
        return str(self.asked("sinks.search", question)["hits"][0]["title"])

    def close(self) -> None:
        for replica in self.running.values():
            replica.kill()
        self.cluster.close()


@contextmanager
def site(folder: Path, environment: dict[str, str], wiki: Served) -> Iterator[Site]:
    code = older.unpack(folder / "older")
    # The working folder of the tests would come first in the older code's path, and ours is where Python looks then.
    today = {**environment, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), environment.get("PYTHONPATH", "")])}
    live = {
        "CIRROSTREAM_WIKI": FOLLOWED,
        "CIRROSTREAM_API": wiki.api,
        "CIRROSTREAM_STREAM": wiki.stream,
        "CIRROSTREAM_REFETCH_SECONDS": "1",
    }
    made = Site(folder, {"older": older.environment(code, environment), "today": today}, live)
    try:
        yield made
    finally:
        made.close()


def next_snapshot(first: Path, folder: Path) -> Path:
    """The snapshot a week later: some articles are gone, some changed, some new."""
    shards = {path.name: bz2.decompress(path.read_bytes()).splitlines() for path in sorted(first.glob("*.bz2"))}
    made = folder / f"index_name={WIKI}_content"
    made.mkdir(parents=True)
    for name, lines in shards.items():
        pairs = list(zip(lines[::2], lines[1::2], strict=True))
        kept = list(changed(pairs)) if name.endswith("-00000.json.bz2") else pairs
        flat = [line for pair in kept for line in pair]
        (made / name.replace(SNAPSHOT, SECOND)).write_bytes(bz2.compress(joined(flat)))
    (made / "_SUCCESS").touch()
    return made


def changed(pairs: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    number = 0
    for action, line in pairs:
        document = json.loads(line)
        if document["page_type"] == "redirect":
            yield action, line
            continue
        number += 1
        if number <= GONE:
            continue
        if number <= 2 * GONE:
            document["text"] = document["opening_text"] = f"Edited: {document['text'][:300]}"
            document["version"] += 1
        yield action, json.dumps(document).encode()
        if number <= 2 * GONE:
            document |= {"page_id": 900_000_000 + number, "title": f"New {number}"}
            yield json.dumps({"index": {"_id": document["page_id"]}}).encode(), json.dumps(document).encode()


def make_with_older_code(pipeline: Site, wiki: FakeWiki, first: Path, second: Path) -> None:
    """What an operator of 8c9e2ef leaves behind: everything, with unread records in every topic."""
    pipeline.command("producers.cirrus", str(first))
    pipeline.start("live", "chunk", "embed", "lance")
    pipeline.until(lambda: wiki.listeners, "the stream is listened to")
    for page_id in (1, 2, 3):
        wiki.write(page_id, f"Page {page_id}", TEXTS[page_id])
    pipeline.until(lambda: pipeline.sent() == 106 + 3, "the followed wiki's pages are in `pages`")
    pipeline.until_stored()
    for topic in (pipeline.corpus.pages, pipeline.model.chunks, pipeline.model.vectors):
        pipeline.poison(topic)
    pipeline.until_stored()
    pipeline.command("producers.cirrus", "--finish", SNAPSHOT)
    pipeline.assert_verified()

    pipeline.stop("lance")
    pipeline.command("producers.cirrus", str(second / f"{WIKI}_content-{SECOND}-00000.json.bz2"))
    pipeline.until_read(pipeline.model.chunk_group, pipeline.corpus.pages)
    pipeline.until_read(pipeline.model.embed_group, pipeline.model.chunks)
    pipeline.stop("embed")
    wiki.write(2, "Page 2", VIOLIN)
    pipeline.until(lambda: pipeline.sent() == 106 + 3 + 1 + 2 * GONE + 1, "the edit is in `pages`")
    pipeline.until_read(pipeline.model.chunk_group, pipeline.corpus.pages)
    pipeline.stop("chunk")
    wiki.delete(3)
    pipeline.until(lambda: pipeline.sent() == 106 + 3 + 1 + 2 * GONE + 2, "the deletion is in `pages`")
    pipeline.stop("live")
    wiki.write(4, "Page 4", TEXTS[4])


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_what_an_older_version_made_is_continued_proved_given_back_and_taken_over_again(
    settings_env: SettingsEnv, tmp_path: Path, extract_folder: Path
) -> None:
    environment = settings_env(unit="lead", threads=1, session_seconds=6)
    first = write_sample(tmp_path / "sample", extract_folder)
    second = next_snapshot(first, tmp_path / "second" / "cirrus_search_index" / SECOND)
    with served(FakeWiki(FOLLOWED)) as wiki, site(tmp_path, environment, wiki) as pipeline:
        make_with_older_code(pipeline, wiki.wiki, first, second)
        sent = pipeline.sent()

        pipeline.code = "today"
        assert pipeline.asked("producers.cirrus", str(second))["total"]["produced"] == 2 * GONE, (
            "the shard that the older code read is in the ledger"
        )
        assert pipeline.sent() == sent, "nothing that the older code sent is sent again"
        done = pipeline.command("producers.cirrus", "--finish", SECOND, "--max-deletions", "0.1")
        assert f"{GONE} deleted" in done.stderr
        pipeline.start("live", "chunk", "embed", "lance")
        pipeline.until(lambda: pipeline.sent() == sent + GONE + 1, "what the wiki wrote while nobody followed it")
        pipeline.until_stored()
        pipeline.assert_verified()
        assert pipeline.first_hit("musical instrument with strings") == "Page 2"
        assert pipeline.first_hit("a river of ice") == "Page 4"
        assert pipeline.first_hit("Which president led the Union in the Civil War?") == "Abraham Lincoln"
        letters = pipeline.asked("pipeline.dead_letters", "list")
        assert {(each["stage"], each["reason"]) for each in letters["letters"]} == {
            ("chunk", "undecodable"),
            ("embed", "undecodable"),
            ("lance", "undecodable"),
        }
        accounts = pipeline.asked("producers.ledger")
        assert all(account["complete"] and account["finished"] for account in accounts), accounts

        # One version back: what today's code wrote, the older one reads, and goes on, once its table is as it knows it.
        pipeline.stop("live", "chunk", "embed", "lance")
        pipeline.code = "older"
        pipeline.assert_refused("sinks.lance", "written by a newer Cirrostream (fence schema 2); upgrade this one")
        pipeline.code = "today"
        assert "start the older sinks.lance now" in pipeline.command("sinks.downgrade").stdout
        pipeline.code = "older"
        pipeline.start("live", "chunk", "embed", "lance")
        wiki.wiki.write(1, "Page 1", "Jade is a green stone that is carved into ornaments.")
        pipeline.until(lambda: pipeline.sent() == sent + GONE + 2, "the older code follows the wiki on")
        pipeline.until_stored()
        pipeline.assert_verified()
        assert pipeline.first_hit("carved green stone") == "Page 1"

        pipeline.stop("live", "chunk", "embed", "lance")
        pipeline.code = "today"
        pipeline.start("chunk", "embed", "lance")
        pipeline.until_stored()
        pipeline.assert_verified()
