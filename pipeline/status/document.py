"""The whole view as one record: what the table shows, what `--json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.lag.rates import Pace, time_left
from pipeline.lag.view import PartitionLag
from pipeline.status.kafka_watcher import KafkaView
from pipeline.status.replicas import ReplicaView

PRODUCERS = ("produce", "live", "mediawiki")
READERS = ("chunk", "embed", "lance")
TRUSTED_S = 15.0
"""A rate over less time says little: a stage commits every few seconds, and a batch on a CPU takes several."""
KEEPS_UP_S = 10.0
"""Work that a stage may have in hand and still be waiting for the stage before it, as batches go."""

Phase = Literal["complete", "up to date", "running", "standing still", "empty"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """The work of the stage with the model: long pages take longer, so its time is told by tokens, not by pages."""

    per_second: float
    waiting: float
    """In the pages that the stage has not done, at the mean of what was cut and not embedded yet."""
    a_page: float
    """In each page that is still before the stage's topic."""


@dataclass(frozen=True, slots=True)
class StageStatus:
    """A stage with its replicas; None is what a stage does not have, or nobody knows."""

    stage: str
    topic: str = ""
    group: str = ""
    items: int | None = None
    minute: Pace | None = None
    five: Pace | None = None
    since_start: Pace | None = None
    lag: int | None = None
    lag_s: float | None = None
    eta_s: float | None = None
    members: int | None = None
    """Of its group, as Kafka counts them: it also knows replicas that we cannot ask."""
    partitions: tuple[PartitionLag, ...] = ()
    partitions_stalled: int = 0
    replicas: tuple[ReplicaView, ...] = ()
    tokens: Tokens | None = None
    """Where they are known."""
    share: float | None = None
    """Of the whole, what the stage and all before it have done; from 0 to 1."""

    @property
    def answering(self) -> int:
        return sum(replica.state != "no answer" for replica in self.replicas)

    @property
    def waiting(self) -> int:
        """Partitions that have lag."""
        return sum(partition.lag > 0 for partition in self.partitions)

    @property
    def stands_still(self) -> bool:
        """True when nothing that waits moves, and no replica is about to move it: one loads its model, or has just."""
        at_it = any(replica.state in ("working", "not ready") for replica in self.replicas)
        return 0 < self.waiting == self.partitions_stalled and not at_it

    @property
    def pace(self) -> Pace | None:
        return present(self.minute, self.five, self.since_start)

    def time_for(self, before: float = 0) -> float | None:
        """Seconds for the stage's own lag, and for so many more pages that are before it; None: nothing moves."""
        if self.tokens is not None:
            return time_left(self.tokens.waiting + before * self.tokens.a_page, self.tokens.per_second)
        return time_left((self.lag or 0) + before, self.pace.per_second if self.pace is not None else 0.0)


@dataclass(frozen=True, slots=True)
class Prices:
    """Of one GPU for an hour; None: not told."""

    on_demand: float | None = None
    spot: float | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of the GPUs at the rate of now, in the currency of the price; None: there is no GPU, or no rate."""

    kind: str
    """`on demand` or `spot`."""
    gpu_hour_price: float
    gpu_replicas: int
    per_million_chunks: float | None
    to_finish: float | None


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
    share: float | None = None
    """Of the whole, what is in the table; from 0 to 1."""

    @property
    def of_source(self) -> bool:
        """True when `share` and `eta_s` are of a run's source, with what is still to come, and not of Kafka alone."""
        return any(stage.lag is not None and not stage.topic for stage in self.stages)


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
        rate = stage.pace.per_second if stage.pace is not None else 0.0
        own_s, all_s = stage.time_for(), stage.time_for(before)
        if own_s is None:
            return None
        keeps_up = own_s <= KEEPS_UP_S and rate >= upstream / 2
        end = end + own_s if keeps_up or all_s is None else max(end, all_s)
        before += stage.lag or 0
        upstream = rate if before else 0.0
    return end


def costs(prices: Prices, stages: Sequence[StageStatus]) -> tuple[Cost, ...]:
    """The cost of the embedders' GPUs, at each price that is known."""
    place = next((n for n, stage in enumerate(stages) if stage.stage == "embed"), None)
    embedders = stages[place].replicas if place is not None else ()
    gpus = [replica for replica in embedders if replica.has_gpu and replica.state != "no answer"]
    paces = [present(replica.chunk_rate, replica.average(replica.chunks)) for replica in gpus]
    pace = sum(pace.per_second for pace in paces if pace is not None)
    left = until_drained([stage for stage in stages[: (place or 0) + 1] if stage.stage in READERS])
    asked = (("on demand", prices.on_demand), ("spot", prices.spot))
    return tuple(_cost(kind, price, len(gpus), pace, left) for kind, price in asked if price is not None)


def _cost(kind: str, price: float, gpus: int, chunks_per_second: float, seconds_left: float | None) -> Cost:
    an_hour, known = price * gpus, gpus > 0 and chunks_per_second > 0
    return Cost(
        kind=kind,
        gpu_hour_price=price,
        gpu_replicas=gpus,
        per_million_chunks=an_hour / (chunks_per_second * 3600) * 1e6 if known else None,
        to_finish=an_hour * seconds_left / 3600 if gpus and seconds_left is not None else None,
    )


def phase_of(kafka: KafkaView, stages: Sequence[StageStatus]) -> Phase:
    """The state of all of it in a word or two."""
    producing = {r.stage for s in stages for r in s.replicas if s.stage in PRODUCERS and r.state != "no answer"}
    if not kafka.pages and not producing:
        return "empty"
    if kafka.done and not producing:
        return "complete"
    if kafka.done and producing == {"live"}:
        return "up to date"
    waiting = [stage for stage in stages if stage.waiting]
    return "standing still" if waiting and all(stage.stands_still for stage in waiting) else "running"
