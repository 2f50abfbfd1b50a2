"""A record of a newer schema waits for an upgrade, but not for ever."""

from __future__ import annotations

import pytest

from pipeline.elimination import Mark, metadata_of, read_mark
from pipeline.upgrade_grace import GRACE_SECONDS, OVER_SECONDS, current, is_over

NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("beginnings", "begun"),
    [
        ([], None),
        ([0], None),
        ([NOW], NOW),
        ([NOW - 5, 0, NOW - 7], NOW - 7),
        ([NOW - OVER_SECONDS], None),
        ([NOW + 60], None),
    ],
)
def test_the_first_beginning_of_the_day_counts(beginnings: list[int], begun: int | None) -> None:
    assert current(beginnings, NOW) == begun


def test_it_is_over_after_fifteen_minutes_and_stays_so_for_the_day() -> None:
    assert GRACE_SECONDS == 15 * 60
    assert not is_over(NOW, NOW + GRACE_SECONDS - 1)
    assert is_over(NOW, NOW + GRACE_SECONDS)


def test_its_beginning_outlives_commits_releases_and_deaths() -> None:
    mark = Mark(owner="me", newer_since=NOW)
    for later in (mark.passed(10), mark.released(), mark.after_death(5, 10), read_mark(metadata_of(mark))):
        assert later.newer_since == NOW
