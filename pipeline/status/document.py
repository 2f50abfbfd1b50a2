"""The whole view as one record: what the table shows, what `--json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.lag.rates import Pace, time_left
from pipeline.lag.view import PartitionLag
from pipeline.status.cost import Cost, cost
from pipeline.status.kafka_look import KafkaView
from pipeline.status.replicas import ReplicaView

PRODUCERS = ("produce", "live", "mediawiki")
READERS = ("chunk", "embed", "lance")
TRUSTED_S = 15.0
"""A rate over less time says little: a stage commits every few seconds, and a batch on a CPU takes several."""
KEEPS_UP_S = 10.0
"""Work that a stage may have in hand and still be waiting for the stage before it, as batches go."""

Phase = Literal["complete", "up to date", "running", "standing still", "empty"]


@dataclass(frozen=True, slots=True)
class StageStatus:
    """A stage with its replicas; None is what a stage does not have, or nobody knows."""

    stage: str
    topic: str
    group: str
    items: int | None
    minute: Pace | None
    five: Pace | None
    since_start: Pace | None
    lag: int | None
    lag_s: float | None
    eta_s: float | None
    members: int | None
    """Of its group, as Kafka counts them: it also knows replicas that we cannot ask."""
    partitions: tuple[PartitionLag, ...]
    partitions_stalled: int
    replicas: tuple[ReplicaView, ...]

    @property
    def answering(self) -> int:
        return sum(replica.state != "no answer" for replica in self.replicas)

    @property
    def pace(self) -> Pace | None:
        return present(self.minute, self.five, self.since_start)


@dataclass(frozen=True, slots=True)
class Prices:
    """Of one GPU for an hour; None: not told."""

    on_demand: float | None = None
    spot: float | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """One moment of a pipeline."""

    at: str
    kafka: str
    model: str
    namespace: str
    phase: Phase
    watched_s: float
    trouble: tuple[str, ...]
    stages: tuple[StageStatus, ...]
    eta_s: float | None
    """Until all that is in Kafka now is in the table."""
    dead_letters: int | None
    """In the topic."""
    dead_letters_by_reason: dict[str, int]
    """Counted by the processes that were seen, since they began."""
    drops_by_reason: dict[str, int]
    costs: tuple[Cost, ...]
    next_steps: tuple[str, ...] = ()


def present(*paces: Pace | None) -> Pace | None:
    """The pace to reckon with: the first that moves and was measured for long enough, else the first that moves."""
    moving = [pace for pace in paces if pace is not None and pace.per_second > 0]
    return next((pace for pace in moving if pace.over_s >= TRUSTED_S), moving[0] if moving else None)


def until_drained(stages: Sequence[StageStatus]) -> float | None:
    """Seconds until the last of these stages has done its own lag and all that is still before it.

    One page is one record in every topic, so what an earlier stage has not read yet comes to the later ones as well.
    A stage that keeps up with the one before it moves only as fast as that: its rate is not what it could do.
    None when a stage that has something to do does not move.
    """
    end, before, upstream = 0.0, 0, 0.0
    for stage in stages:
        own, before = stage.lag or 0, before + (stage.lag or 0)
        rate = stage.pace.per_second if stage.pace is not None else 0.0
        own_s = time_left(own, rate)
        if own_s is None:
            return None
        keeps_up = own_s <= KEEPS_UP_S and rate >= upstream / 2
        end = end + own_s if keeps_up or not rate else max(end, before / rate)
        upstream = rate if before else 0.0
    return end


def costs(prices: Prices, stages: Sequence[StageStatus]) -> tuple[Cost, ...]:
    """The cost of the embedders' GPUs, at each price that is known."""
    place = next((n for n, stage in enumerate(stages) if stage.stage == "embed"), None)
    embedders = stages[place].replicas if place is not None else ()
    gpus = [replica for replica in embedders if replica.has_gpu and replica.state != "no answer"]
    pace = sum(_chunk_pace(replica) for replica in gpus)
    left = until_drained([stage for stage in stages[: (place or 0) + 1] if stage.stage in READERS])
    asked = (("on demand", prices.on_demand), ("spot", prices.spot))
    return tuple(cost(kind, price, len(gpus), pace, left) for kind, price in asked if price is not None)


def _chunk_pace(replica: ReplicaView) -> float:
    since_start = replica.since_start
    average = Pace((replica.chunks or 0) / since_start.over_s, since_start.over_s) if since_start is not None else None
    pace = present(replica.chunk_rate, average)
    return pace.per_second if pace is not None else 0.0


def phase_of(kafka: KafkaView, stages: Sequence[StageStatus]) -> Phase:
    """What there is to say of all of it in a word or two."""
    producing = {r.stage for s in stages for r in s.replicas if s.stage in PRODUCERS and r.state != "no answer"}
    if not kafka.pages and not producing:
        return "empty"
    if kafka.done and not producing:
        return "complete"
    if kafka.done and producing == {"live"}:
        return "up to date"
    waiting = sum(partition.lag > 0 for stage in stages for partition in stage.partitions)
    stalled = sum(stage.partitions_stalled for stage in stages)
    return "standing still" if waiting and stalled == waiting else "running"
