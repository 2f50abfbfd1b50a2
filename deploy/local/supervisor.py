"""Keeps the processes of a pipeline running: starts them, decides by how they end, starts them again.

It knows neither Kafka nor what the processes do; `Process` is all it needs of one, and the caller owns the clock.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from deploy.local.policy import Action, RestartPolicy, ending

State = Literal["running", "waiting", "finished", "incomplete", "failed", "stopped"]
TAIL_BYTES = 64 * 1024


class Process(Protocol):
    """A started process."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def terminate(self) -> None: ...

    def kill(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """One replica of a stage: what to run, and where its output goes."""

    stage: str
    number: int
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    endless: bool = True
    foreign: bool = False
    """Another's program, such as Prometheus."""

    @property
    def name(self) -> str:
        return f"{self.stage}-{self.number}" if self.endless else self.stage


Spawn = Callable[[Plan], Process]


@dataclass(slots=True)
class Replica:
    """A replica as it stands."""

    plan: Plan
    policy: RestartPolicy
    process: Process | None = None
    state: State = "waiting"
    due: float = 0.0
    """When to start it, on the supervisor's clock."""
    starts: int = 0
    last_code: int | None = None

    @property
    def restarts(self) -> int:
        return max(0, self.starts - 1)

    @property
    def pid(self) -> int | None:
        process = self.process  # read once: another thread may ask
        return process.pid if process is not None else None


@dataclass(slots=True)
class Supervisor:
    """All replicas; `turn` is to be called a few times a second."""

    plans: Sequence[Plan]
    spawn: Spawn
    policy: Callable[[Plan], RestartPolicy] = lambda plan: RestartPolicy(endless=plan.endless, foreign=plan.foreign)
    clock: Callable[[], float] = time.monotonic
    replicas: list[Replica] = field(init=False)
    on_restart: Callable[[Replica], None] = lambda _: None
    """Told of each replica that has ended and will be started again; its `pid` is still the old one."""

    def __post_init__(self) -> None:
        self.replicas = [Replica(plan, self.policy(plan)) for plan in self.plans]

    def turn(self) -> None:
        """Starts what is due, and decides about those that have ended."""
        now = self.clock()
        for replica in self.replicas:
            if replica.state == "running":
                self._look_at(replica, now)
            if replica.state == "waiting" and replica.due <= now:
                replica.process = self.spawn(replica.plan)
                replica.starts += 1
                replica.state = "running"

    @property
    def failed(self) -> Replica | None:
        """A replica that was given up: the run cannot succeed."""
        return next((replica for replica in self.replicas if replica.state == "failed"), None)

    @property
    def incomplete(self) -> Replica | None:
        """A replica that ended its work with something missing."""
        return next((replica for replica in self.replicas if replica.state == "incomplete"), None)

    @property
    def reading_is_over(self) -> bool:
        """True when every replica that has an end has come to it."""
        return all(r.state in ("finished", "incomplete") for r in self.replicas if not r.plan.endless)

    @property
    def stages(self) -> list[str]:
        return list(dict.fromkeys(plan.stage for plan in self.plans))

    def stop(self, patience_s: float, tick: Callable[[], None] = lambda: time.sleep(0.05)) -> list[Replica]:
        """Asks all to end, and ends those that have not within `patience_s`; the replicas that had to be killed."""
        for replica in self.replicas:
            if replica.process is not None and replica.state == "running":
                replica.process.terminate()
            if replica.state in ("running", "waiting"):
                replica.state = "stopped"
        deadline = self.clock() + patience_s
        while list(self._alive()) and self.clock() < deadline:
            tick()
        late = list(self._alive())
        for _, process in late:
            process.kill()
        return [replica for replica, _ in late]

    def _alive(self) -> Iterator[tuple[Replica, Process]]:
        for replica in self.replicas:
            if replica.process is not None and replica.process.poll() is None:
                yield replica, replica.process

    def _look_at(self, replica: Replica, now: float) -> None:
        code = replica.process.poll() if replica.process is not None else None
        if code is None:
            return
        replica.last_code = code
        decision = replica.policy.decide(code, now)
        if decision.action is Action.RESTART:
            self.on_restart(replica)
        replica.process = None
        states: dict[Action, State] = {
            Action.RESTART: "waiting",
            Action.FINISHED: "finished",
            Action.INCOMPLETE: "incomplete",
            Action.GIVE_UP: "failed",
        }
        replica.state, replica.due = states[decision.action], now + decision.pause_s


def failure_line(replica: Replica) -> str:
    """The reason why a replica was given up, or what it misses, in one line: what happened, the last error of its log,
    where the log is."""
    how = ending(replica.last_code or 0)
    if replica.policy.exhausted:
        how += f" after {replica.starts} starts"
    said = last_error(replica.plan.log)
    return f"{replica.plan.name} {how}{': ' + said if said else ''} (log: {replica.plan.log})"


_ERROR = re.compile(r"(?:^|\b)(?:error|fatal|critical)\b", re.IGNORECASE)
_TRACE = re.compile(r"^(?:\s|Traceback \(most recent)")


def last_error(log: Path) -> str:
    """The last line of a log that tells of an error, else its last line; at most 500 characters."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line for line in text.splitlines() if line.strip() and not _TRACE.match(line)]
    errors = [line for line in lines if _ERROR.search(line)]
    return (errors or lines or [""])[-1].strip().removeprefix("error: ")[:500]
