"""What the sink lets in: good pages; the rest is a dead letter, fatal, or left out on the operator's word."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from pipeline.dead_letters import DeadLetter
from pipeline.errors import TryAgain
from pipeline.metrics import Metrics
from pipeline.offsets import TopicLog
from pipeline.records import MAX_AHEAD, SCHEMA_VERSION, EmbeddedPage, SchemaTooNew, encode
from sinks.fence import UnknownPagesTopic, version_of
from sinks.intake import Intake, weight
from sinks.origin import Origins
from tests.tables import FENCE, deletion, embedded, new_table


@dataclass
class Message:
    """As kafka-python gives it."""

    key: bytes | None
    value: bytes | None
    topic: str = "vectors"
    partition: int = 0
    offset: int = 7


class CollectingDeadLetters:
    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.good = 0

    def send(self, letter: DeadLetter) -> None:
        self.letters.append(letter)

    def succeeded(self, records: int = 1) -> None:
        self.good += records


class Door:
    """An intake, its dead letters and its metrics."""

    def __init__(
        self, folder: Path, *, adopt: bool = False, pages_topic_id: str = "pages-id", end: int = 1_000
    ) -> None:
        self.end = end
        self.asked = 0
        self.pages_topic_id = pages_topic_id
        self.letters = CollectingDeadLetters()
        self.metrics = Metrics("lance")
        self.intake = Intake(
            new_table(folder),
            self.letters,  # type: ignore[arg-type]
            self.metrics,
            origins=Origins(self.pages),
            adopt=adopt,
        )

    def pages(self) -> TopicLog:
        self.asked += 1
        return TopicLog(self.pages_topic_id, {0: 0}, {0: self.end})

    def sends(self, page: EmbeddedPage, key: bytes | None = None) -> EmbeddedPage | None:
        return self.intake.decode(Message(key or page.key.encode(), encode(page)))  # type: ignore[arg-type]

    def sends_raw(self, value: bytes | None) -> EmbeddedPage | None:
        return self.intake.decode(Message(b"enwiki:1", value))  # type: ignore[arg-type]


def test_good_pages_and_deletions_pass(tmp_path: Path) -> None:
    door = Door(tmp_path)
    for page in (embedded("enwiki:1", 1, 2), embedded("enwiki:1", 1, 0), deletion("enwiki:1", 1)):
        assert door.sends(page) == page
    assert door.letters.good == 3


@pytest.mark.parametrize("value", [None, b"", b"\xc1", b"\x80", encode(embedded("enwiki:1", 1, 2))[:-5]])
def test_what_is_no_page_is_a_dead_letter(tmp_path: Path, value: bytes | None) -> None:
    door = Door(tmp_path)
    assert door.sends_raw(value) is None
    assert [(letter.reason, letter.value, letter.offset) for letter in door.letters.letters] == [
        ("undecodable", value, 7)
    ]


def test_a_bad_page_is_a_dead_letter_with_its_source(tmp_path: Path) -> None:
    door = Door(tmp_path)
    page = embedded("enwiki:1", 5, 2)
    assert door.sends(page, key=b"enwiki:2") is None
    assert door.sends(msgspec.structs.replace(page, vectors=bytes(len(page.vectors)))) is None
    assert [(letter.reason, letter.source) for letter in door.letters.letters] == [
        ("bad_key", page.source),
        ("bad_vectors", page.source),
    ]


def test_a_newer_schema_waits_for_an_upgrade_and_is_no_dead_letter(tmp_path: Path) -> None:
    door = Door(tmp_path)
    with pytest.raises(SchemaTooNew):
        door.sends(msgspec.structs.replace(embedded("enwiki:1", 1, 1), schema=SCHEMA_VERSION + 1))
    assert not door.letters.letters


@pytest.mark.parametrize("schema", [-1, 0, SCHEMA_VERSION + MAX_AHEAD + 1, 2**60])
def test_a_schema_that_no_release_has_is_a_dead_letter_at_once(tmp_path: Path, schema: int) -> None:
    door = Door(tmp_path)
    assert door.sends(msgspec.structs.replace(embedded("enwiki:1", 1, 1), schema=schema)) is None
    assert [letter.reason for letter in door.letters.letters] == ["unknown_schema"]


def test_pages_of_a_topic_made_anew_are_fatal_until_adopted(tmp_path: Path) -> None:
    with pytest.raises(UnknownPagesTopic, match="--adopt"):
        Door(tmp_path, pages_topic_id="other").sends(embedded("enwiki:1", 1, 1, topic="other"))


def test_pages_of_a_topic_that_never_was_are_dead_letters(tmp_path: Path) -> None:
    door = Door(tmp_path)
    assert door.sends(embedded("enwiki:1", 1, 1, topic="other")) is None
    assert [(letter.reason, letter.source) for letter in door.letters.letters] == [("unknown_topic", None)]


@pytest.mark.parametrize("offset", [1_000, 1_001, 2**40])
def test_an_offset_that_pages_does_not_have_is_a_dead_letter(tmp_path: Path, offset: int) -> None:
    door = Door(tmp_path)
    assert door.sends(embedded("enwiki:1", offset, 1)) is None
    assert door.sends(deletion("enwiki:1", offset)) is None
    assert [(letter.reason, letter.source) for letter in door.letters.letters] == [("forged_source", None)] * 2


def test_another_partition_than_its_own_is_a_dead_letter(tmp_path: Path) -> None:
    door = Door(tmp_path)
    assert door.sends(embedded("enwiki:1", 5, 1, partition=1)) is None
    assert [letter.reason for letter in door.letters.letters] == ["forged_source"]


def test_the_end_of_pages_is_asked_anew_before_a_record_is_condemned_and_not_for_others(tmp_path: Path) -> None:
    door = Door(tmp_path, end=10)
    assert door.sends(embedded("enwiki:1", 9, 1))
    assert door.asked == 1
    door.end = 20
    for offset in (3, 19, 12):
        assert door.sends(embedded("enwiki:1", offset, 1))
    assert door.asked == 2
    assert not door.letters.letters


def test_offsets_of_a_former_pages_are_believed_and_not_asked_for_each_time(tmp_path: Path) -> None:
    door = Door(tmp_path, pages_topic_id="new")
    for offset in (5_000, 6_000):
        assert door.sends(embedded("enwiki:1", offset, 1, topic="pages-id"))
    assert door.asked == 1


def test_a_partition_without_a_leader_condemns_nothing(tmp_path: Path) -> None:
    door = Door(tmp_path)
    door.pages = lambda: TopicLog("pages-id", {}, {}, leaderless=True)  # type: ignore[method-assign]
    door.intake._origins.look = door.pages
    with pytest.raises(TryAgain, match="no leader"):
        door.sends(embedded("enwiki:1", 5, 1))
    assert not door.letters.letters


def test_adopt_leaves_out_and_counts_pages_of_a_topic_that_is_no_more(tmp_path: Path) -> None:
    door = Door(tmp_path, adopt=True)
    assert door.sends(embedded("enwiki:1", 1, 1, topic="gone")) is None
    dropped = {"stage": "lance", "reason": "pages_topic_gone"}
    assert door.metrics.registry.get_sample_value("cirrostream_drops_total", dropped) == 1


def test_even_adopt_takes_no_topic_that_was_made_while_the_sink_ran(tmp_path: Path) -> None:
    with pytest.raises(UnknownPagesTopic):
        Door(tmp_path, adopt=True, pages_topic_id="new").sends(embedded("enwiki:1", 1, 1, topic="new"))


def test_large_pages_weigh_more_than_their_rows() -> None:
    assert weight(deletion("enwiki:1", 1)) == 1
    assert weight(embedded("enwiki:1", 1, 3)) == 3
    assert weight(embedded("enwiki:1", 1, 3, dimension=4096)) == 12


def test_a_version_in_the_table_cannot_be_when_pages_has_not_reached_it() -> None:
    logs = [TopicLog("now", {0: 0}, {0: 100})]
    origins = Origins(lambda: logs[0])
    fence = msgspec.structs.replace(FENCE, pages=("former", "now"))
    assert not origins.is_beyond_end(version_of(1, 99), 0, fence)
    assert origins.is_beyond_end(version_of(1, 100), 0, fence)
    logs[0] = TopicLog("now", {0: 0}, {0: 101})
    assert not origins.is_beyond_end(version_of(1, 100), 0, fence), "Kafka is asked again before the verdict"
    assert not origins.is_beyond_end(version_of(0, 1 << 40), 0, fence), "a topic that is no more: older than all"
    assert not origins.is_beyond_end(version_of(1, 1 << 40), 7, fence), "nobody can say"
    assert origins.is_beyond_end(version_of(2, 0), 0, fence), "of no topic that the fence knows"
