"""What the runner does when its own Kafka dies."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local.broker_keeper import BrokerKeeper
from deploy.local.policy import RestartPolicy, RestartRules
from pipeline.errors import Fatal


@dataclass
class MortalBroker:
    """Runs until it is given a code."""

    code: int | None = None
    restarts: int = 0
    log: Path = Path("broker.log")

    def exit_code(self) -> int | None:
        return self.code

    def last_words(self) -> str:
        return "No space left on device"

    def restart(self) -> None:
        self.restarts += 1
        self.code = None


def test_a_dead_broker_comes_back_after_a_pause_and_a_live_one_is_left_alone() -> None:
    said: list[str] = []
    broker = MortalBroker()
    keeper = BrokerKeeper(broker, said.append, RestartPolicy(RestartRules(first_s=1.0), jitter=lambda: 1.0))
    keeper.turn(0.0)
    broker.code = -signal.SIGKILL
    for now in (1.0, 1.5, 1.9):
        keeper.turn(now)
    assert broker.restarts == 0
    keeper.turn(2.0)
    keeper.turn(9.0)
    assert broker.restarts == 1
    assert said == ["restarting: the local Kafka was killed by SIGKILL (log: broker.log)"]


def test_a_broker_that_always_dies_ends_the_run_with_its_last_words() -> None:
    broker = MortalBroker()
    keeper = BrokerKeeper(broker, lambda _: None, RestartPolicy(RestartRules(most=2, first_s=0.1)))

    def die_at(now: float) -> None:
        broker.code = 1
        keeper.turn(now)
        keeper.turn(now + 5)

    die_at(0)
    die_at(10)
    with pytest.raises(Fatal, match="ended with code 1, too often: No space left on device"):
        die_at(20)
