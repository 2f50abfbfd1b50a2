"""Which record ends its process: what a mark says, and what becomes of it when owners die, stop and change."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.elimination import DEATHS, Mark, metadata_of, read_mark, share_of_watchdog

MARKS = st.builds(
    Mark,
    owner=st.text(max_size=300),
    careful_to=st.integers(0, 2**62),
    in_hand_to=st.integers(0, 2**62),
    alone_to=st.integers(0, 2**62),
    at=st.integers(-1, 2**62),
    deaths=st.integers(0, 99),
    killers=st.integers(0, 99),
)


@given(MARKS)
def test_a_mark_comes_back_from_the_metadata_as_it_was(mark: Mark) -> None:
    assert read_mark(metadata_of(mark)) == mark


def test_a_mark_with_the_longest_id_that_kafka_gives_fits_into_the_metadata_that_it_takes() -> None:
    far = 2**63 - 1
    longest = Mark("x" * (255 + 1 + 36), far, far, far, far, far, far)
    assert len(metadata_of(longest).encode()) < 1_024


@pytest.mark.parametrize("metadata", ["", None, "{}", "garbage", "[]", "5", '{"owner": 5}', '{"deaths": 1e99}', "{"])
def test_metadata_of_an_earlier_version_or_another_program_is_no_mark(metadata: str | None) -> None:
    assert read_mark(metadata) == Mark()


def test_a_later_versions_mark_is_read_as_far_as_it_is_known() -> None:
    assert read_mark(json.dumps({"owner": "a", "since": [1]})) == Mark(owner="a")


def test_while_nobody_dies_a_mark_says_who_has_the_partition_and_nothing_else() -> None:
    mark = Mark(owner="a")
    assert mark.taking(500) == mark
    assert mark.passed(500) == mark
    assert metadata_of(mark.released()) == ""


def test_an_orderly_stop_takes_the_mark_back_and_keeps_what_was_found_out_before() -> None:
    alone = Mark(owner="a", careful_to=90, alone_to=50, at=12, deaths=2)
    assert alone.released() == replace(alone, owner="")
    assert alone.released().taking_alone(12).deaths == 2


def test_a_small_record_has_a_sixth_of_the_watchdogs_time_and_a_large_one_all_of_it() -> None:
    assert 120 * share_of_watchdog(0) == 20
    assert 120 * share_of_watchdog(500) == pytest.approx(21)
    assert share_of_watchdog(50_000) == share_of_watchdog(10**9) == 1


class Reading:
    """One partition of a topic, read by one owner after the other; `letters` are what became dead letters."""

    def __init__(self, killers: set[int], end: int, batch: int) -> None:
        self.killers, self.end, self.batch = killers, end, batch
        self.committed, self.metadata = 0, ""
        self.done: list[int] = []
        self.letters: list[int] = []
        self.deaths = 0
        self.marked = 0

    def read(self, kills: list[bool]) -> None:
        """A process after the other, until the end; one is killed from outside wherever `kills` says so."""
        while self.committed < self.end:
            mark = read_mark(self.metadata)
            if mark.owner:
                mark = mark.after_death(self.committed, min(self.end, self.committed + self.batch))
            self.owner(replace(mark, owner="m"), kills)

    def owner(self, mark: Mark, kills: list[bool]) -> None:
        self.commit(self.committed, mark)
        while self.committed < self.end:
            mark = read_mark(self.metadata)
            if mark.alone_to:
                mark = mark.taking_alone(self.committed)
                batch = [self.committed]
            else:
                end = min(self.end, self.committed + (4 if mark.careful else self.batch))
                batch = list(range(self.committed, end))
                mark = mark.taking(end)
            if mark != read_mark(self.metadata):
                self.marked += 1
                self.commit(self.committed, mark)
            if mark.alone_to and mark.is_poison:
                self.letters += batch
            elif self.killers & set(batch) or (kills and kills.pop()):
                self.deaths += 1
                return
            else:
                self.done += batch
            self.commit(batch[-1] + 1, mark.passed(batch[-1] + 1))

    def commit(self, offset: int, mark: Mark) -> None:
        self.committed, self.metadata = offset, metadata_of(mark)


@settings(deadline=None)
@given(st.sets(st.integers(0, 59), max_size=6), st.integers(1, 30))
def test_killers_and_nobody_else_become_dead_letters_at_five_deaths_each_at_most(killers: set[int], batch: int) -> None:
    reading = Reading(killers, 60, batch)
    reading.read([])
    assert reading.letters == sorted(killers)
    assert reading.done == sorted(set(range(60)) - killers)
    assert reading.deaths <= 5 * len(killers)


def test_one_killer_costs_five_deaths_and_one_beside_it_three_more() -> None:
    for killers, deaths in (({5}, 5), ({5, 6}, 8), ({4, 5, 6}, 11)):
        reading = Reading(killers, 60, 20)
        reading.read([])
        assert reading.deaths == deaths


def test_nothing_is_marked_while_nobody_dies() -> None:
    reading = Reading(set(), 1_000, 20)
    reading.read([])
    assert reading.marked == 0


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=60), st.integers(1, 30))
def test_kills_from_outside_make_a_dead_letter_only_of_a_record_that_they_hit_three_times(
    kills: list[bool], batch: int
) -> None:
    reading = Reading(set(), 60, batch)
    reading.read(list(kills))
    assert sorted(reading.done + reading.letters) == list(range(60))
    assert len(reading.letters) <= max(0, sum(kills) - 2) // DEATHS


def test_a_rebalance_is_no_death() -> None:
    """The next owner goes on where the one before was, however often the partition changes hands."""
    mark = Mark(owner="a", careful_to=100, alone_to=50, at=12, deaths=2)
    for owner in "bcdefgh":
        mark = replace(mark.released(), owner=owner).taking_alone(12)
    assert not mark.is_poison
    assert mark.after_death(12, 100).is_poison


def test_a_death_between_two_records_is_nobodys() -> None:
    mark = Mark(owner="a", alone_to=50, at=12, deaths=2).passed(13)
    assert mark.after_death(13, 100) == mark


def test_killers_in_a_row_are_counted_and_a_record_that_passes_ends_the_row() -> None:
    mark = Mark(alone_to=50, at=12, deaths=DEATHS).passed(13)
    assert mark.killers == 1
    mark = replace(mark.taking_alone(13), deaths=DEATHS).passed(14)
    assert mark.killers == 2
    assert mark.taking_alone(14).passed(15).killers == 0
