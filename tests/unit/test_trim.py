"""What Kafka may forget: only what every reader is done with, and nothing while a replay runs."""

from __future__ import annotations

from sinks.trim import trim_limits


def test_records_go_once_every_group_and_the_table_have_them() -> None:
    committed = {"lance.a": {0: 90, 1: 40}, "lance.b": {0: 70, 1: 50}}
    assert trim_limits(committed, committed, "lance.a") == {0: 70, 1: 40}
    assert trim_limits(committed, committed, "lance.a", fence={0: 60}) == {0: 60, 1: 0}


def test_the_limit_is_what_was_committed_a_round_ago() -> None:
    assert trim_limits({"g": {0: 90}}, {"g": {0: 50}}, "g") == {0: 50}


def test_nothing_goes_in_the_first_round_or_before_the_reader_has_committed() -> None:
    assert trim_limits({"g": {0: 90}}, {}, "g") == {}
    assert trim_limits({"other": {0: 90}}, {"other": {0: 90}}, "g") == {}


def test_nothing_goes_while_a_group_that_was_set_back_catches_up() -> None:
    highest = {"g": {0: 90, 1: 10}, "h": {0: 95, 1: 10}}
    assert trim_limits({"g": {0: 95, 1: 10}, "h": {0: 20, 1: 10}}, highest, "g") == {1: 10}


def test_a_group_whose_commit_is_gone_keeps_its_records() -> None:
    assert trim_limits({"g": {0: 90}}, {"g": {0: 90}, "h": {0: 30}}, "g") == {}


def test_a_new_group_is_seen_before_anything_goes() -> None:
    assert trim_limits({"g": {0: 90}, "new": {0: 5}}, {"g": {0: 90}}, "g") == {}
