"""What the runner does about a process that has ended."""

from __future__ import annotations

import signal

import pytest

from deploy.local.policy import Action, Decision, RestartPolicy, RestartRules, ending, killed_by
from pipeline.errors import Exit


def policy(*, endless: bool = True, **rules: float) -> RestartPolicy:
    """Without jitter: the whole pause."""
    return RestartPolicy(RestartRules(**rules), endless=endless, jitter=lambda: 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [Exit.FATAL, Exit.TRY_AGAIN, -signal.SIGKILL, -signal.SIGSEGV, 128 + signal.SIGTERM])
def test_what_a_restart_may_cure_is_restarted(code: int) -> None:
    assert policy().decide(code, 0.0).action is Action.RESTART


@pytest.mark.parametrize("code", [Exit.USAGE, Exit.REPLACED])
def test_a_worker_that_says_that_a_restart_is_no_use_is_given_up(code: int) -> None:
    assert policy().decide(code, 0.0).action is Action.GIVE_UP


@pytest.mark.parametrize("code", [1, 64, 127, 255])
def test_a_worker_that_a_library_has_ended_is_started_again(code: int) -> None:
    assert policy().decide(code, 0.0).action is Action.RESTART
    assert policy(endless=False).decide(64, 0.0).action is Action.GIVE_UP


@pytest.mark.parametrize("killers", [1, 3, 7])
@pytest.mark.parametrize("code", [-signal.SIGSEGV, Exit.TRY_AGAIN, 1])
def test_its_patience_outlasts_an_elimination(killers: int, code: int) -> None:
    """Five ends for the first record that ends its process, three for each further one: in no time, at worst."""
    judged = policy()
    ends = 5 + 3 * (killers - 1)
    assert {judged.decide(code, now * 1.0).action for now in range(ends)} == {Action.RESTART}


def test_who_always_dies_is_given_up_within_five_minutes() -> None:
    judged, now = policy(), 0.0
    while (decision := judged.decide(-signal.SIGKILL, now)).action is Action.RESTART:
        now += decision.pause_s + 3.0
    assert now < 300


def test_a_worker_that_somebody_stopped_is_started_again_but_a_reader_is_finished() -> None:
    assert policy().decide(Exit.DONE, 0.0).action is Action.RESTART
    assert policy(endless=False).decide(Exit.DONE, 0.0).action is Action.FINISHED


def test_a_reader_that_could_not_read_everything_lets_the_rest_go_on() -> None:
    assert policy(endless=False).decide(Exit.CHECK_FAILED, 0.0).action is Action.INCOMPLETE


def test_pauses_double_up_to_the_longest() -> None:
    judged = policy(most=6, first_s=1.0, longest_s=5.0, window_s=100.0)
    assert [judged.decide(Exit.TRY_AGAIN, now).pause_s for now in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_jitter_takes_away_at_most_half_of_a_pause() -> None:
    rules = RestartRules(first_s=8.0)
    assert RestartPolicy(rules, jitter=lambda: 0.0).decide(Exit.TRY_AGAIN, 0.0) == Decision(Action.RESTART, 4.0)


def test_one_end_too_many_within_the_window_is_the_last() -> None:
    judged = policy(most=3, window_s=100.0)
    verdicts = [judged.decide(-signal.SIGKILL, now).action for now in (0.0, 10.0, 20.0, 99.0)]
    assert verdicts == [Action.RESTART] * 3 + [Action.GIVE_UP]
    assert judged.exhausted


def test_ends_that_are_far_apart_are_never_too_many() -> None:
    judged = policy(most=3, window_s=100.0, first_s=1.0)
    decisions = [judged.decide(-signal.SIGKILL, now * 60.0) for now in range(50)]
    assert {decision.action for decision in decisions} == {Action.RESTART}
    assert decisions[-1].pause_s == 2.0, "only the ends in the window lengthen the pause"


def test_fatal_ends_are_forgiven_less_often_than_others() -> None:
    judged = policy(most=10, most_fatal=2)
    assert judged.decide(Exit.TRY_AGAIN, 0.0).action is Action.RESTART
    verdicts = [judged.decide(Exit.FATAL, now).action for now in (1.0, 2.0, 3.0)]
    assert verdicts == [Action.RESTART, Action.RESTART, Action.GIVE_UP]


def test_an_end_is_told_in_words() -> None:
    assert ending(-9) == "was killed by SIGKILL"
    assert ending(143) == "was killed by SIGTERM"
    assert ending(70) == "ended with code 70"
    assert killed_by(75) is None
    assert killed_by(128) is None
