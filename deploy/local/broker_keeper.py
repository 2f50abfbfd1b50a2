"""Starts our Kafka again when it has died."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from deploy.local.policy import Action, RestartPolicy, ending
from pipeline.errors import Exit, Fatal


class Broker(Protocol):
    """A broker, as its keeper needs it; `LocalKafka` is one."""

    log: Path

    def exit_code(self) -> int | None: ...

    def last_words(self) -> str: ...

    def restart(self) -> None: ...


@dataclass(slots=True)
class BrokerKeeper:
    """`turn` is to be called a few times a second; `say` is told of each restart.

    A restart blocks until the broker answers: without it nobody could do anything anyway, and the stages that gave up
    meanwhile are started again afterwards.
    """

    broker: Broker
    say: Callable[[str], None]
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    _due: float | None = None

    def turn(self, now: float) -> None:
        """Raises Fatal when the broker dies too often, or does not start."""
        if self._due is None:
            self._look(now)
        elif now >= self._due:
            self._due = None
            self.broker.restart()

    def _look(self, now: float) -> None:
        code = self.broker.exit_code()
        if code is None:
            return
        decision = self.policy.decide(Exit.TRY_AGAIN, now)  # whatever its own code: nothing works without it
        if decision.action is Action.GIVE_UP:
            said = self.broker.last_words()
            raise Fatal(f"the local Kafka {ending(code)}, too often: {said} (log: {self.broker.log})")
        self.say(f"restarting: the local Kafka {ending(code)} (log: {self.broker.log})")
        self._due = now + decision.pause_s
