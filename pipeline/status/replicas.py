"""States of the replicas, by their work since the view began: working, idle, stuck, silent or not ready."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.lag.rates import Pace, Rate
from pipeline.status.readings import Gpu, Reading, total
from pipeline.status.targets import Target

State = Literal["working", "idle", "stuck", "no answer", "not ready"]

SILENT_S = 5.0
"""A busy process may miss a look or two: its Python thread waits for the model's."""
FORGET_S = 600.0
"""A pod that is stopped leaves the name service; it stays in the view for so long."""
FRESH_S = 10.0
FIVE_MINUTES_S = 300.0


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """A replica at one moment; None is what nobody knows."""

    name: str
    stage: str
    address: str
    state: State
    note: str
    partitions: int | None
    items: float | None
    chunks: float | None
    minute: Pace | None
    five: Pace | None
    since_start: Pace | None
    chunk_rate: Pace | None
    device: str
    gpus: tuple[Gpu, ...]
    answered_s: float | None
    """Time since its last answer; None: it never gave one."""
    progressed_s: float | None
    """Time since its items last grew, or since we look when they have not grown yet: see `progress_seen`."""
    progress_seen: bool
    tokens: float | None = None
    token_rate: Pace | None = None

    @property
    def has_gpu(self) -> bool:
        return bool(self.gpus) or self.device.startswith(("cuda", "gpu"))

    def average(self, count: float | None) -> Pace | None:
        """A counter's mean pace since the replica began."""
        since = self.since_start
        return Pace((count or 0) / since.over_s, since.over_s) if since is not None else None


@dataclass(frozen=True, slots=True)
class Ahead:
    """The work before a stage, as far as it matters to its replicas."""

    behind: bool = False
    """There is lag."""
    stalled: bool = False
    """There are partitions with lag that nobody has moved for `stuck_s`."""


@dataclass(slots=True)
class _Seen:
    """One replica's history."""

    target: Target
    first_asked: float
    reading: Reading | None = None
    answered: float | None = None
    still_since: float = 0.0
    progress_seen: bool = False
    minute: Rate = field(default_factory=Rate)
    five: Rate = field(default_factory=lambda: Rate(FIVE_MINUTES_S))
    chunks: Rate = field(default_factory=Rate)
    tokens: Rate = field(default_factory=Rate)

    def take(self, reading: Reading, now: float) -> None:
        if self.reading is None or (self.reading.ready is False and reading.ready):
            self.still_since = now  # while it loads its model nobody waits for items
        elif reading.records != self.reading.records:
            self.still_since, self.progress_seen = now, True
        self.reading, self.answered = reading, now
        self.minute.take(reading.records, now)
        self.five.take(reading.records, now)
        self.chunks.take(reading.chunks, now)
        self.tokens.take(reading.tokens, now)

    @property
    def stage(self) -> str:
        return self.target.stage or (self.reading.stage if self.reading is not None else "")

    def silent(self, now: float) -> bool:
        return self.target.gone or self.answered is None or now - self.answered > SILENT_S


class Replicas:
    """All replicas that were found since the view began; a silent one stays in it."""

    def __init__(self, stuck_s: float) -> None:
        self._stuck_s = stuck_s
        self._seen: dict[str, _Seen] = {}
        self._ended: dict[str, Reading] = {}
        """By stage: the sum of all processes that are no more."""

    def take(self, targets: Iterable[Target], answers: Mapping[str, Reading], now: float) -> None:
        """Notes what the targets answered (by address) at this moment."""
        listed = {target.name: target for target in targets}
        for name, target in listed.items():
            seen = self._seen.setdefault(name, _Seen(target, now))
            seen.target = target
            reading = answers.get(target.address)
            if reading is not None and not target.gone:
                if seen.reading is not None and _began_anew(seen.reading, reading):
                    self._keep(seen.reading)
                seen.take(reading, now)
        for name in [name for name in self._seen if name not in listed]:
            seen = self._seen[name]
            if seen.target.announced or now - (seen.answered or seen.first_asked) > FORGET_S:
                if seen.reading is not None:
                    self._keep(seen.reading)
                del self._seen[name]

    def views(self, ahead: Mapping[str, Ahead], now: float, wall: float) -> list[ReplicaView]:
        """Every replica, by stage and name; `ahead` is what each stage has to do, `wall` is the Unix time."""
        found = [self._view(seen, ahead.get(seen.stage, Ahead()), now, wall) for seen in self._seen.values()]
        return sorted(found, key=lambda view: (view.stage, view.name))

    def total(self, *stages: str) -> Reading:
        """All that the processes of these stages have counted, or of every one; dead and restarted ones too."""
        found = [*self._ended.values(), *(seen.reading for seen in self._seen.values() if seen.reading is not None)]
        return total("", [reading for reading in found if not stages or reading.stage in stages])

    def group_rate(self, group: str, wall: float) -> Pace | None:
        """A group's records a second over 5 minutes, where a lag exporter is among those that answer."""
        for seen in self._seen.values():
            reading = seen.reading
            if reading is not None and group in reading.group_rates:
                up_s = FIVE_MINUTES_S if reading.started is None else max(0.0, wall - reading.started)
                return Pace(reading.group_rates[group], min(FIVE_MINUTES_S, up_s))
        return None

    def _keep(self, last: Reading) -> None:
        self._ended[last.stage] = total(last.stage, [last, self._ended.get(last.stage, Reading(last.stage))])

    def _view(self, seen: _Seen, ahead: Ahead, now: float, wall: float) -> ReplicaView:
        reading, silent = seen.reading, seen.silent(now)
        state, note = self._state(seen, ahead, now)
        note = ", ".join(filter(None, (note, seen.target.note)))
        since_start = None
        if reading is not None and reading.started is not None and wall > reading.started and not silent:
            up_s = wall - reading.started
            since_start = Pace(reading.records / up_s, up_s)
        return ReplicaView(
            name=seen.target.name,
            stage=seen.stage,
            address=seen.target.address,
            state=state,
            note=note,
            partitions=reading.assigned if reading is not None else None,
            items=reading.records if reading is not None else None,
            chunks=reading.chunks if reading is not None else None,
            minute=None if silent else Pace.of(seen.minute),
            five=None if silent else Pace.of(seen.five),
            since_start=since_start,
            chunk_rate=None if silent else Pace.of(seen.chunks),
            device=reading.device if reading is not None else "",
            gpus=reading.gpus if reading is not None else (),
            answered_s=None if seen.answered is None else now - seen.answered,
            progressed_s=None if reading is None else now - seen.still_since,
            progress_seen=seen.progress_seen,
            tokens=reading.tokens if reading is not None else None,
            token_rate=None if silent else Pace.of(seen.tokens),
        )

    def _state(self, seen: _Seen, ahead: Ahead, now: float) -> tuple[State, str]:
        if not seen.target.address:
            return "not ready", ""
        if seen.reading is None or seen.silent(now):
            return "no answer", "its process is gone" if seen.target.gone else ""
        if seen.reading.ready is False:
            return "not ready", ""
        if (seen.reading.idle_s or 0.0) > self._stuck_s:
            return "stuck", "its loop stands"
        return self._state_of_turning(seen, ahead, now - seen.still_since)

    def _state_of_turning(self, seen: _Seen, ahead: Ahead, still_s: float) -> tuple[State, str]:
        """Trap: whose the partitions are that stand still is in no metric; any replica that does may be to blame."""
        if seen.reading is not None and seen.reading.assigned == 0:
            return "idle", "no partitions"
        if ahead.stalled and still_s >= self._stuck_s:
            return "stuck", "no progress"
        if ahead.behind or (seen.progress_seen and still_s < FRESH_S):
            return "working", ""
        return "idle", ""


def _began_anew(before: Reading, after: Reading) -> bool:
    return after.started != before.started or after.records < before.records
