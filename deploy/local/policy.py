"""Decides about a process that has ended: start it again, and when; or give up.

Pure: exit code and clock in, action out.
"""

from __future__ import annotations

import random
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from pipeline.errors import Exit


class Action(Enum):
    """An action about a process that has ended."""

    FINISHED = "finished"
    RESTART = "restart"
    INCOMPLETE = "incomplete"
    """It did what it could and says that something is missing: the others go on, the run fails in the end."""
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True)
class RestartRules:
    """Backoff doubles from `first_s` to `longest_s`; more than `most` ends within `window_s` are one too many.

    Of ends with 70 only `most_fatal` are forgiven: a restart rarely helps there, and no record's fault ends with it. A
    process that is killed now and then is never given up, one that always is after some four minutes. That leaves room
    for what elimination needs (`pipeline.elimination`): five ends for the first record that ends its process, three for
    each further one that was in hand with it.
    """

    most: int = 24
    most_fatal: int = 2
    window_s: float = 600.0
    first_s: float = 0.25
    longest_s: float = 8.0


@dataclass(frozen=True, slots=True)
class Decision:
    """An action, with the pause before a restart in seconds."""

    action: Action
    pause_s: float = 0.0


@dataclass(slots=True)
class RestartPolicy:
    """Decides about the ends of one replica.

    Args:
        rules: bounds of backoff and restarts.
        endless: a worker, whose exit with 0 is no end of its work: somebody stopped it, and its stage needs one.
        jitter: a number in [0, 1); replicas that died of one cause must not all come back at once.
    """

    rules: RestartRules = field(default_factory=RestartRules)
    endless: bool = True
    jitter: Callable[[], float] = random.random
    foreign: bool = False
    """Another's program: what it ends with is its last word, not what a library did over a record."""
    exhausted: bool = False
    """True when it was given up for having ended too often."""
    _ends: deque[tuple[float, int]] = field(default_factory=deque)

    def decide(self, code: int, now: float) -> Decision:
        """The action after an exit code as subprocess gives it: negative is the signal that killed the process."""
        if code == Exit.DONE and not self.endless:
            return Decision(Action.FINISHED)
        if code == Exit.CHECK_FAILED and not self.endless:
            return Decision(Action.INCOMPLETE)
        if not self._worth_a_restart(code):
            return Decision(Action.GIVE_UP)
        while self._ends and self._ends[0][0] <= now - self.rules.window_s:
            self._ends.popleft()
        self._ends.append((now, code))
        fatal = sum(ended == Exit.FATAL for _, ended in self._ends)
        self.exhausted = len(self._ends) > self.rules.most or fatal > self.rules.most_fatal
        if self.exhausted:
            return Decision(Action.GIVE_UP)
        whole = min(self.rules.longest_s, self.rules.first_s * 2.0 ** (len(self._ends) - 1))
        return Decision(Action.RESTART, whole * (0.5 + 0.5 * self.jitter()))

    def _worth_a_restart(self, code: int) -> bool:
        if killed_by(code) is not None or code in (Exit.DONE, Exit.FATAL, Exit.TRY_AGAIN):
            return True
        # None of our words: a library has ended the process, perhaps over what a worker had in hand.
        return self.endless and not self.foreign and code not in (Exit.USAGE, Exit.REPLACED)


def killed_by(code: int) -> str | None:
    """The signal that ended a process, by name: from a negative code, or from 128 + n as shells and our
    services say it."""
    number = -code if code < 0 else code - 128
    if not 0 < number < 65 or 0 <= code <= 128:
        return None
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def ending(code: int) -> str:
    """The end of a process, for people."""
    name = killed_by(code)
    return f"was killed by {name}" if name else f"ended with code {code}"
