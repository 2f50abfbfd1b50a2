"""When workers that others feed have had nothing to do for so long that they may end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.lag.backlog import Drain, Log, Step

LOOK_S = 1.0


@dataclass(slots=True)
class Drained:
    """`turn` says whether the steps are through with everything, and nothing has come since `patience_s`.

    An end may be only a pause: whoever feeds the first topic is another machine's process. So the steps are followed to
    their ends again and again (`Drain`, which also knows the ends that a compacted topic has no record
    at), and the time counts from when these ends were first reached.
    """

    steps: list[Step]
    patience_s: float
    complete: bool = False
    _drain: Drain = field(init=False)
    _ends: dict[str, Mapping[int, int]] = field(default_factory=dict)
    _since: float = 0.0
    _looked_at: float = float("-inf")

    def __post_init__(self) -> None:
        self._drain = Drain(self.steps)

    def turn(self, log: Log, now: float) -> bool:
        """To be called often; asks Kafka at most once a second."""
        if self.complete or now - self._looked_at < LOOK_S:
            return self.complete
        self._looked_at = now
        if self._drain.turn(log, now):
            if self._drain.ends != self._ends:
                self._ends, self._since = self._drain.ends, now
            self._drain = Drain(self.steps)
            self.complete = now - self._since >= self.patience_s
        return self.complete
