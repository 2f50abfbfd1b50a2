"""One batch of the chunk stage, and its watchdog's judgement, without Kafka."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest

from consumers.chunk_limits import LEAST_SECONDS, TRIES_ALONE, most_seconds, seconds_for
from consumers.chunk_positions import positions_of
from consumers.chunk_process import ProcessDied
from consumers.chunk_protocol import Answer, PageRecord
from consumers.chunk_records import RecordChunker
from consumers.chunk_watchdog import LATE_FACTOR, StallTimer
from consumers.chunk_work import ChunkWork, Outcome
from consumers.chunking import Chunked, Chunker
from consumers.vocabulary import Unknown
from pipeline.dead_letters import DeadLetters
from pipeline.errors import Fatal
from pipeline.metrics import Metrics
from pipeline.publisher import Publisher
from pipeline.records import Chunk, ChunkedPage, Page, SchemaTooNew, Source, decode, encode
from pipeline.upgrade_grace import GRACE_SECONDS, Grace
from tests.newer import of_newer_schema


class PickyChunker:
    """Makes one chunk a page; raises for a text that says so."""

    def chunk_all(self, pages: Sequence[Page]) -> list[Chunked]:
        for page in pages:
            if page.text == "poison":
                raise RuntimeError("cannot read this")
        return [Chunked(page, (Chunk(0, 0, len(page.text), b"\x01\x00"),), 2) for page in pages]


class FragileProcess:
    """Chunks in this process; dies over some texts, and as often as it is killed from outside."""

    def __init__(self) -> None:
        self._records = RecordChunker(cast("Chunker", PickyChunker()), "id")
        self.kills_from_outside = 0
        self.asked: list[list[int]] = []

    def ask(self, records: Sequence[PageRecord], seconds: float) -> Answer:
        self.asked.append([record.offset for record in records])
        if self.kills_from_outside:
            self.kills_from_outside -= 1
            raise ProcessDied("was killed by SIGKILL")
        if any(b"killer" in (record.value or b"") for record in records):
            raise ProcessDied("was killed by SIGSEGV")
        if any(b"hanger" in (record.value or b"") for record in records):
            raise ProcessDied(f"took longer than {seconds:.0f} s", timed_out=True)
        return self._records.chunk(records)


def work(max_bytes: int = 10_000, max_dead_letters: int = 100, process: FragileProcess | None = None) -> ChunkWork:
    letters = DeadLetters(cast("Publisher", None), "dead_letters", Metrics("chunk"), max_dead_letters)
    no_pauses = threading.Event()
    no_pauses.set()
    return ChunkWork(
        process or FragileProcess(),
        topic_id="id",
        chunks_topic="chunks",
        max_bytes=max_bytes,
        letters=letters,
        metrics=Metrics("chunk"),
        stopping=no_pauses,
        grace=Grace(),
    )


def all_of(stage: ChunkWork, records: Sequence[PageRecord]) -> list[Outcome]:
    """The outcomes of all records, however many calls they take."""
    outcomes: list[Outcome] = []
    while len(outcomes) < len(records):
        outcomes += stage.chunk(records[len(outcomes) :])
    return outcomes


def record(offset: int, text: str = "text") -> PageRecord:
    page = Page(wiki="testwiki", page_id=str(offset), title="", text=text)
    return PageRecord("pages", 3, offset, page.key.encode(), encode(page))


def reasons(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.letter.reason if outcome.letter else "" for outcome in outcomes]


def test_a_page_that_cannot_be_chunked_does_not_take_its_batch_with_it() -> None:
    outcomes = work().chunk([record(0), record(1, "poison"), record(2), record(3, "poison")])
    assert reasons(outcomes) == ["", "unchunkable", "", "unchunkable"]
    assert [outcome.message.topic for outcome in outcomes] == ["chunks", "dead_letters", "chunks", "dead_letters"]
    assert outcomes[1].letter is not None
    assert "pages-3@1" in outcomes[1].letter.error
    assert "cannot read this" in outcomes[1].letter.error


@pytest.mark.parametrize(("text", "reason"), [("killer", "killed"), ("hanger", "timed_out")])
def test_a_page_that_ends_its_process_is_a_dead_letter_and_its_neighbours_are_chunked(text: str, reason: str) -> None:
    process = FragileProcess()
    stage = work(process=process)
    records = [record(0), record(1), record(2, text), record(3)]
    outcomes = all_of(stage, records)
    assert reasons(outcomes) == ["", "", reason, ""]
    letter = outcomes[2].letter
    assert letter is not None
    assert (letter.offset, letter.value, letter.attempts) == (2, records[2].value, TRIES_ALONE)
    assert letter.error.startswith("pages-3@2: the process that chunks ")
    assert process.asked == [[0, 1, 2, 3], [0], [1], *[[2]] * TRIES_ALONE, [3]], "and never with a neighbour again"


def test_a_page_in_hand_at_kills_from_outside_is_no_dead_letter() -> None:
    process = FragileProcess()
    process.kills_from_outside = TRIES_ALONE  # over the batch, then over its first page alone
    outcomes = all_of(work(process=process), [record(0), record(1)])
    assert reasons(outcomes) == ["", ""]


def test_pages_that_went_one_by_one_go_together_again_afterwards() -> None:
    process = FragileProcess()
    stage = work(process=process)
    all_of(stage, [record(0), record(1, "killer")])
    stage.chunk([record(2), record(3)])
    assert process.asked[-1] == [2, 3]


def test_each_page_that_went_alone_has_its_outcome_at_once() -> None:
    stage = work()
    assert len(stage.chunk([record(0), record(1, "hanger"), record(2)])) == 1


def test_the_time_limit_follows_from_a_pages_length() -> None:
    short, long = record(0), record(1, "x" * 5_000_000)
    assert LEAST_SECONDS <= seconds_for([short]) < LEAST_SECONDS + 1
    assert LEAST_SECONDS + 60 < seconds_for([long]) < LEAST_SECONDS + 120
    assert most_seconds([short, long]) > TRIES_ALONE * seconds_for([long])


def test_while_a_page_is_in_hand_the_watchdog_is_told_how_long_that_may_take() -> None:
    seen = []

    class Watched(FragileProcess):
        def ask(self, records: Sequence[PageRecord], seconds: float) -> Answer:
            seen.append(stage.may_take)
            return super().ask(records, seconds)

    stage = work(process=Watched())
    stage.chunk([record(0)])
    assert seen == [most_seconds([record(0)])]
    assert stage.may_take == 0


def test_outcomes_keep_order_partition_key_and_source() -> None:
    outcomes = work().chunk([record(5), PageRecord("pages", 3, 6, b"testwiki:x", None), record(7)])
    assert [outcome.message.key for outcome in outcomes] == [b"testwiki:5", b"testwiki:x", b"testwiki:7"]
    assert {outcome.message.partition for outcome in outcomes} == {3}
    sent = [decode(outcome.message.value or b"", ChunkedPage) for outcome in outcomes]
    assert [(one.source.offset, one.deleted) for one in sent] == [(5, False), (6, True), (7, False)]


def test_a_message_larger_than_its_topic_takes_is_a_dead_letter() -> None:
    outcomes = work(max_bytes=2_000).chunk([record(0, "a" * 5_000), record(1)])
    assert reasons(outcomes) == ["too_large", ""]


@pytest.mark.parametrize("key", [b"", b"testwiki", b"Testwiki:1", b"testwiki:", b"\xff:1", b"testwiki:a\n"])
def test_a_key_that_is_not_a_pages_is_undecodable(key: bytes) -> None:
    assert reasons(work().chunk([PageRecord("pages", 0, 0, key, None)])) == ["undecodable"]


def test_too_many_dead_letters_in_a_row_are_our_fault() -> None:
    stage = work(max_dead_letters=2)
    first, second, third, good = stage.chunk([record(0, "poison"), record(1, "poison"), record(2, "poison"), record(3)])
    for outcome in (first, second, good, first, second):
        stage.count(outcome)
    with pytest.raises(Fatal, match="3 records in a row"):
        stage.count(third)


def test_lag_without_any_commit_is_a_stall() -> None:
    progress, ends = StallTimer(), {0: 10, 1: 7}
    assert progress.observe(0, [0, 1], {0: 5, 1: 7}, ends) == 0
    assert progress.observe(30, [0, 1], {0: 5, 1: 7}, ends) == 30
    assert progress.observe(40, [0, 1], {0: 6, 1: 7}, ends) == 0, "a commit is progress"
    assert progress.observe(50, [0, 1], {0: 6, 1: 7}, ends) == 10
    assert progress.observe(60, [1], {0: 6, 1: 7}, ends) == 0, "a partition that is not mine does not count"
    assert progress.observe(75, [0, 1], {0: 6, 1: 7}, ends) == 0, "and begins anew when it becomes mine"
    assert progress.observe(99, [0, 1], {0: 10, 1: 7}, ends) == 0


def test_without_lag_time_does_not_count() -> None:
    progress = StallTimer()
    assert progress.observe(0, [0], {0: 3}, {0: 3}) == 0
    assert progress.observe(1000, [0], {0: 3}, {0: 3}) == 0
    assert progress.observe(1001, [0], {0: 3}, {0: 4}) == 1, "since it was last seen without"


def test_a_partition_may_wait_while_another_has_its_turn_but_not_for_ever() -> None:
    progress, ends = StallTimer(), {0: 1_000, 1: 5}
    stalled = [progress.observe(now, [0, 1], {0: now, 1: 0}, ends) for now in range(0, 500, 10)]
    assert max(stalled) < 60
    assert progress.observe(500, [0, 1], {0: 500, 1: 0}, ends) == 500 / LATE_FACTOR


def test_a_position_below_the_logs_start_is_a_gap() -> None:
    positions_of("group")({0: 5, 1: 9}, {0: 5, 1: 0})
    with pytest.raises(Fatal, match=r"records 5 to 7 are gone.*pipeline.replay --stage chunk"):
        positions_of("group")({0: 5}, {0: 8})


def test_what_the_model_does_not_know_is_counted_once_kafka_has_the_chunks() -> None:
    stage, metrics = work(), Metrics("chunk")
    stage._metrics = metrics
    outcomes = [replace(one, unknown=Unknown(3, 10, 1)) for one in stage.chunk([record(0), record(1)])]
    read = lambda name: metrics.registry.get_sample_value(f"cirrostream_{name}_total", {"stage": "chunk"})  # noqa: E731
    assert read("characters") == 0
    stage.count(*outcomes)
    assert (read("unknown_characters"), read("characters"), read("unknown_tokens")) == (6, 20, 2)


def newer(offset: int) -> PageRecord:
    one = record(offset)
    value = of_newer_schema(one.value or b"")
    return PageRecord(one.topic, one.partition, one.offset, one.key, value)


def test_a_record_of_a_newer_schema_waits_for_an_upgrade_and_then_costs_nobody_anything() -> None:
    stage = work()
    with pytest.raises(SchemaTooNew, match="pages-3@1: a Page has schema 2"):
        stage.chunk([record(0), newer(1)])
    assert stage.grace.beginning is not None
    stage.grace.beginning -= GRACE_SECONDS
    outcomes = stage.chunk([record(0), newer(1), record(2), newer(3)])
    assert reasons(outcomes) == ["", "newer_schema", "", "newer_schema"]
    assert outcomes[1].letter is not None
    assert outcomes[1].letter.value == newer(1).value
    assert outcomes[1].letter.source == Source("id", 3, 1), "its place, whatever it says; `pages` may be made anew"
