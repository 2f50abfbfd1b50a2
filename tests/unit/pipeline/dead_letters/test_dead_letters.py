"""Dead letters: kept whole, readable again, and an end to a process that makes too many."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from pipeline import dead_letters
from pipeline.dead_letters import DeadLetter, DeadLetters
from pipeline.errors import Fatal
from pipeline.metrics import FORGED, Metrics
from pipeline.publisher import Message
from pipeline.records import ChunkedPage, Source, encode
from pipeline.rejected import Rejected

LETTER = DeadLetter(
    "pages", 3, 41, b"enwiki:1", b"\xff", "undecodable", "pages-3@41: not msgpack", Source("id", 3, 41), 2
)

PAGE = ChunkedPage(key="enwiki:1", source=Source("id", 3, 41), page=None)


class RecordingPublisher:
    """Takes messages and says that they have arrived."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def publish(self, messages: list[Message]) -> SimpleNamespace:
        self.messages += messages
        return SimpleNamespace(wait=lambda: None)


def letters(limit: int = 3) -> tuple[DeadLetters, RecordingPublisher]:
    publisher = RecordingPublisher()
    return DeadLetters(publisher, "dead_letters", Metrics("embed"), limit), publisher  # type: ignore[arg-type]


def test_a_letter_keeps_bytes_reason_and_place() -> None:
    box, publisher = letters()
    box.send(LETTER)
    sent = publisher.messages[0]
    record = SimpleNamespace(key=sent.key, value=sent.value, headers=sent.headers)
    assert dead_letters.read(record) == ("embed", LETTER)


@pytest.mark.parametrize(
    ("value", "deaths", "source"),
    [
        (encode(PAGE), 3, PAGE.source),
        (encode(PAGE), 4, None),
        (b"not msgpack", 3, None),
        (b"", 3, None),
    ],
    ids=["its version", "even that may be what kills", "unreadable", "empty"],
)
def test_a_poison_record_is_kept_whole_with_its_version_and_how_often_it_killed(
    value: bytes, deaths: int, source: Source | None
) -> None:
    box, publisher = letters()
    box.poison(SimpleNamespace(topic="chunks", partition=3, offset=7, key=b"enwiki:1", value=value), deaths)
    sent = publisher.messages[0]
    stage, letter = dead_letters.read(SimpleNamespace(key=sent.key, value=sent.value, headers=sent.headers))
    assert (stage, letter.reason, letter.value, letter.source) == ("embed", "killed", value, source)
    assert (letter.topic, letter.partition, letter.offset, letter.attempts) == ("chunks", 3, 7, deaths)


SOUND = dict(LETTER.headers("embed"))


@pytest.mark.parametrize(
    ("headers", "odd"),
    [
        ([], "no header stage"),
        (None, "no header stage"),
        ([*SOUND.items(), ("stage", b"lance")], "'stage' is there twice"),
        ([*SOUND.items(), ("x", None)], "'x' is null"),
        ({**SOUND, "partition": b"many"}, "partition is no number"),
        ({**SOUND, "partition": b"-1"}, "partition is no number"),
        ({**SOUND, "offset": b"9" * 5_000}, "offset is no number"),
        ({**SOUND, "offset": "\u0663".encode()}, "offset is no number"),
        ({**SOUND, "attempts": b" 1"}, "attempts is no number"),
        ({**SOUND, "attempts": b""}, "attempts is no number"),
        ({**SOUND, "source": b"id/3"}, "source is no version"),
        ({**SOUND, "source": b"id/x/y"}, "source is no version"),
        ({**SOUND, "source": b"id/3/41/9"}, "source is no version"),
        ({**SOUND, "source": b""}, "source is no version"),
        ({**SOUND, "reason": b"\xff\xfe"}, "'reason' is no UTF-8"),
        ({**SOUND, "error": b"x" * 1_000_000}, "'error' has 1000000 bytes"),
        ({name: value for name, value in SOUND.items() if name != "topic"}, "no header topic"),
    ],
)
def test_headers_that_are_none_of_a_letter_make_it_odd_and_raise_nothing(headers: object, odd: str) -> None:
    found = list(headers.items()) if isinstance(headers, dict) else headers
    record = SimpleNamespace(key=None, value=None, headers=found)
    stage, letter = dead_letters.read(record)  # type: ignore[arg-type]
    assert odd in letter.odd
    assert dead_letters.is_whole(record)  # type: ignore[arg-type]
    assert max(map(len, (stage, letter.topic, letter.reason, letter.error))) <= 1_000


def test_headers_of_later_versions_are_not_odd() -> None:
    record = SimpleNamespace(key=b"enwiki:1", value=b"", headers=[*SOUND.items(), ("new", b"\x01")])
    assert dead_letters.read(record)[1].odd == ""  # type: ignore[arg-type]


def test_a_stage_behind_pages_says_whose_pipeline_it_is_of() -> None:
    publisher = RecordingPublisher()
    DeadLetters(publisher, "dead_letters", Metrics("chunk"), 3, model="minilm-1").send(LETTER)  # type: ignore[arg-type]
    record = SimpleNamespace(key=b"enwiki:1", value=b"", headers=publisher.messages[0].headers)
    assert dead_letters.read(record)[1].model == "minilm-1"  # type: ignore[arg-type]


def test_a_huge_original_is_kept_as_hash_and_size() -> None:
    box, publisher = letters()
    box.send(replace(LETTER, value=bytes(dead_letters.MAX_VALUE_BYTES + 1)))
    headers = dict(publisher.messages[0].headers)
    assert publisher.messages[0].value == b""
    assert headers["size"] == str(dead_letters.MAX_VALUE_BYTES + 1).encode()
    assert len(headers["sha256"]) == 64


def test_too_many_in_a_row_are_our_fault() -> None:
    box, publisher = letters(limit=3)
    for _ in range(3):
        box.send(LETTER)
    with pytest.raises(Fatal, match=r"4 records in a row.*pages-3@41"):
        box.send(LETTER)
    assert len(publisher.messages) == 4, "the last one is safe before the process ends"


def test_a_success_between_them_starts_the_count_anew() -> None:
    box, _ = letters(limit=3)
    for _ in range(10):
        box.send(LETTER)
        box.succeeded()


def test_more_than_one_percent_of_many_are_our_fault() -> None:
    box, _ = letters(limit=1000)
    for _ in range(99):
        box.send(LETTER)
        box.succeeded(100)
    box.succeeded(0)
    box.send(LETTER)  # 100 of 10,000 are still 1 %
    with pytest.raises(Fatal, match="101 of 10001 records"):
        box.send(LETTER)


@pytest.mark.parametrize("reason", FORGED)
def test_a_version_that_may_be_forged_is_left_out_and_one_by_its_place_is_kept(reason: str) -> None:
    record = SimpleNamespace(topic="t.pages", partition=3, offset=7, key=b"w:1", value=b"x")
    claim, place = Source("other", 3, 7), Source("id", 3, 7)
    assert DeadLetter.of(record, Rejected(reason), claim).source is None
    assert DeadLetter.of(record, Rejected(reason), claim, place=place).source == place
    assert DeadLetter.of(record, Rejected("too_large"), claim).source == claim


@pytest.mark.parametrize("reason", FORGED)
def test_records_of_none_of_our_processes_stop_no_stage(reason: str) -> None:
    box, publisher = letters(limit=3)
    for _ in range(200):
        box.send(replace(LETTER, reason=reason))
    assert len(publisher.messages) == 200, "each of them is kept and counted under its reason"
    for _ in range(3):
        box.send(LETTER)
    with pytest.raises(Fatal, match="4 records in a row"):
        box.send(LETTER)
