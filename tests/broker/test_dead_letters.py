"""Dead letters on a real Kafka: tried again only where nothing newer has come, and removed only when told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from kafka import KafkaProducer

from pipeline.dead_letters import MAX_VALUE_BYTES, DeadLetter, DeadLetters
from pipeline.dead_letters.retry import Retried, Wanted, retry
from pipeline.kafka import Cluster, read_to_end
from pipeline.metrics import Metrics
from pipeline.publisher import Message, Publisher
from pipeline.records import Source
from pipeline.settings import Settings
from pipeline.topics import CorpusTopics, ensure_corpus, topic_ids
from tests.conftest import SettingsEnv


def all_of_them(_record: object, _stage: str, _reason: str) -> bool:
    return True


@dataclass
class Corpus:
    """The topics, and what a producer and the stages would do with them."""

    cluster: Cluster
    topics: CorpusTopics

    def send(self, key: str, value: bytes | None) -> Source:
        """A version of a page."""
        topic = self.topics.pages
        with Publisher(self.cluster) as publisher:
            [at] = publisher.publish([Message(topic, key.encode(), value)]).wait(60)
        return Source(topic_ids(self.cluster, [topic])[topic], at.partition, at.offset)

    def lose(self, stage: str, key: str, value: bytes = b"", source: Source | None = None, reason: str = "odd") -> None:
        """A letter about a page."""
        letter = DeadLetter("where", 0, 0, key.encode(), value, reason, "why", source)
        with Publisher(self.cluster) as publisher:
            DeadLetters(publisher, self.topics.dead_letters, Metrics(stage), 100).send(letter)

    def retried(self, wanted: Wanted = all_of_them, *, from_letters: bool = False) -> Retried:
        return retry(self.cluster, self.topics, wanted, from_letters=from_letters)

    def versions(self, key: str) -> list[bytes | None]:
        return [r.value for r in read_to_end(self.cluster, self.topics.pages) if r.key == key.encode()]

    def letters(self) -> int:
        return sum(1 for _ in read_to_end(self.cluster, self.topics.dead_letters))


@pytest.fixture
def corpus(cluster: Cluster) -> Corpus:
    return Corpus(cluster, ensure_corpus(cluster, Settings()))


@pytest.fixture
def command(settings_env: SettingsEnv) -> Callable[..., subprocess.CompletedProcess[str]]:
    environment = settings_env()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "pipeline.dead_letters", *arguments]
        return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120, check=False)

    return run


def test_the_page_of_a_letter_is_sent_again_as_pages_has_it(corpus: Corpus) -> None:
    corpus.lose("embed", "w:1", b"the chunks of one", corpus.send("w:1", b"one"), reason="out_of_memory")
    assert corpus.retried().fates == {"from_pages": 1}
    assert corpus.versions("w:1") == [b"one", b"one"]


def test_a_letter_that_cannot_tell_its_version_counts_for_the_newest(corpus: Corpus) -> None:
    corpus.send("w:1", b"one")
    corpus.lose("lance", "w:1", b"\xff", reason="undecodable")
    assert corpus.retried().sent == 1
    assert corpus.versions("w:1") == [b"one", b"one"]


def test_a_page_of_which_something_newer_has_come_is_left_alone(corpus: Corpus) -> None:
    corpus.lose("chunk", "w:1", b"old", corpus.send("w:1", b"old"))
    corpus.lose("chunk", "w:2", b"two", corpus.send("w:2", b"two"))
    corpus.lose("produce", "w:3", b"far too large", reason="too_large")
    corpus.send("w:1", b"new")
    corpus.send("w:2", None)
    corpus.send("w:3", b"short now")
    corpus.lose("embed", "w:4", b"", Source("of a topic that was deleted", 0, 99))
    corpus.send("w:4", b"of the new topic")
    assert corpus.retried().fates == {"superseded": 3, "gone": 1}
    assert corpus.versions("w:1") == [b"old", b"new"]
    assert corpus.versions("w:2") == [b"two", None]
    assert corpus.versions("w:3") == [b"short now"]


def test_a_page_that_never_came_to_pages_is_sent_as_its_letter_has_it(corpus: Corpus) -> None:
    corpus.send("w:1", b"of the snapshot before")
    corpus.lose("produce", "w:1", b"first try", reason="too_large")
    corpus.lose("produce", "w:1", b"second try", reason="too_large")
    corpus.lose("produce", "w:2", bytes(MAX_VALUE_BYTES + 1), reason="too_large")
    corpus.lose("produce", "w:3", bytes(9 * 1024 * 1024), reason="too_large")
    assert corpus.retried(from_letters=True).fates == {"from_letter": 1, "not_kept": 1, "too_large": 1}
    assert corpus.versions("w:1") == [b"of the snapshot before", b"second try"]
    assert corpus.versions("w:2") == corpus.versions("w:3") == []


def test_an_older_letter_never_buries_what_a_younger_one_has(corpus: Corpus) -> None:
    corpus.lose("produce", "w:1", b"older", reason="too_large")
    corpus.lose("produce", "w:1", b"younger", reason="other")
    assert corpus.retried(lambda _record, _stage, reason: reason == "too_large").fates == {"superseded": 1}
    assert corpus.versions("w:1") == []
    assert corpus.retried(from_letters=True).fates == {"from_letter": 1}
    assert corpus.versions("w:1") == [b"younger"]


def test_a_letter_that_any_worker_could_have_written_changes_no_page_without_a_word(corpus: Corpus) -> None:
    corpus.send("w:1", b"true")
    corpus.lose("produce", "w:1", b"made up", reason="too_large")
    assert corpus.retried().fates == {"unproven": 1}
    assert corpus.versions("w:1") == [b"true"]


def test_letters_are_chosen_by_stage_reason_and_position(
    corpus: Corpus, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for number, (stage, reason) in enumerate([("chunk", "a"), ("embed", "a"), ("embed", "b")]):
        corpus.lose(stage, f"w:{number}", b"", corpus.send(f"w:{number}", b"page"), reason)
    [one] = [x for x in json.loads(command("list", "--json").stdout)["letters"] if x["page"] == "w:0"]
    for arguments, sent in (
        (["--stage", "embed", "--reason", "b"], ["w:2"]),
        ([f"{one['partition']}@{one['offset']}"], ["w:0"]),
    ):
        before = {key: len(corpus.versions(key)) for key in ("w:0", "w:1", "w:2")}
        done = command("replay", "--json", *arguments)
        assert json.loads(done.stdout) == {"sent": 1, "overtaken": 0, "pages": {"from_pages": 1}}, done.stderr
        assert [key for key, count in before.items() if len(corpus.versions(key)) > count] == sent
    nowhere = command("replay", "0@999999")
    assert (nowhere.returncode, "no such dead letter: 0@999999" in nowhere.stderr) == (2, True)


class Raw(str):
    """A header's name as a client in C may send it."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


def test_forged_letters_end_no_command_and_send_nothing(
    corpus: Corpus, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    corpus.send("w:1", b"page")
    forged: list[tuple[tuple[str, bytes], ...]] = [
        (),
        (("stage", b"embed"), ("partition", b"x")),
        (("stage", b"produce"), ("stage", b"produce"), ("offset", b"9" * 5_000)),
        (("stage", b"embed"), ("source", b"a/b/c"), ("error", b"\xff")),
        (("stage", b"embed"), (Raw("name"), b"no UTF-8")),
    ]
    producer = KafkaProducer(**corpus.cluster.client_config())
    for key in (b"w:1", b"no key of a page", None):
        for headers in forged:
            producer.send(corpus.topics.dead_letters, key=key, value=b"evil", headers=list(headers)).get(60)
    producer.close()
    corpus.lose("produce", "no key of a page", b"evil", reason="too_large")
    listed = json.loads(command("list", "--json").stdout)
    assert (listed["total"], len(listed["letters"])) == (16, 16)
    assert sum(one["count"] for one in listed["by_reason"] if one["reason"] == "odd") == 15
    assert "odd" in command("list").stdout
    for row in listed["letters"][:4]:
        assert command("show", f"{row['partition']}@{row['offset']}").returncode == 0
    done = json.loads(command("replay", "--json").stdout)
    assert (done["sent"], done["pages"]) == (0, {"gone": 1, "odd": 2})
    assert corpus.versions("w:1") == [b"page"]
    assert "removed 16 dead letters" in command("purge", "--yes").stdout


@pytest.mark.parametrize("name", ["list", "replay", "purge"])
def test_before_anything_was_produced_it_says_so(
    name: str, namespace: str, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = command(name)
    assert done.returncode == 70
    assert f"no topic {namespace}.dead_letters at " in done.stderr


def test_letters_are_removed_only_when_told_and_the_young_ones_are_spared(
    corpus: Corpus, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    corpus.lose("chunk", "w:1")
    newest = max(record.timestamp for record in read_to_end(corpus.cluster, corpus.topics.dead_letters))
    border = datetime.fromtimestamp((newest + 1) / 1000, UTC).isoformat()
    corpus.lose("chunk", "w:1")
    refused = command("purge")
    assert (refused.returncode, "2 dead letters would be gone for good" in refused.stderr) == (2, True)
    assert corpus.letters() == 2
    assert "removed 1 dead letters" in command("purge", "--yes", "--before", border).stdout
    assert corpus.letters() == 1
    assert "removed 1 dead letters" in command("purge", "--yes").stdout
    assert corpus.letters() == 0
    assert command("purge").returncode == 0, "there is nothing that could go"
