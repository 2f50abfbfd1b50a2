"""Puts together what Kafka and the replicas say, as often as it is asked."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.errors import TryAgain
from pipeline.lag.rates import Pace, duration, time_left
from pipeline.status.document import (
    PRODUCERS,
    READERS,
    Prices,
    StageStatus,
    Status,
    costs,
    phase_of,
    present,
    until_drained,
)
from pipeline.status.kafka_look import GroupView, KafkaLook, KafkaView
from pipeline.status.replicas import Ahead, Replicas, ReplicaView
from pipeline.status.scrape import ask
from pipeline.status.targets import MOST_REPLICAS, Targets

FIRST_LOOK_S = 30.0
OLD_S = 10.0


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What is looked at, in the operator's words."""

    kafka: str
    namespace: str
    model: str
    next_steps: tuple[str, ...]


class Look:
    """`take` is one look at everything; the first waits until Kafka has answered once."""

    def __init__(self, pipeline: Pipeline, kafka: KafkaLook, targets: Targets, prices: Prices, stuck_s: float) -> None:
        self._pipeline = pipeline
        self._kafka = kafka
        self._targets = targets
        self._prices = prices
        self._stuck_s = stuck_s
        self._replicas = Replicas(stuck_s)
        self._began = time.monotonic()

    def await_kafka(self) -> None:
        """Returns when Kafka was seen once; raises what went wrong, or TryAgain when it takes too long."""
        deadline = time.monotonic() + FIRST_LOOK_S
        while self._kafka.view.looked_at is None:
            if self._kafka.view.trouble is not None:
                raise self._kafka.view.trouble
            if time.monotonic() > deadline:
                raise TryAgain(f"Kafka at {self._pipeline.kafka} has not answered for {FIRST_LOOK_S:.0f} s")
            time.sleep(0.05)
        self._began = time.monotonic()

    def take(self) -> Status:
        """Asks the replicas now, and puts beside it what Kafka said last."""
        targets = self._targets.find()
        answers = ask(target.address for target in targets if not target.gone)
        now = time.monotonic()
        self._replicas.take(targets, answers, now)
        kafka = self._kafka.view
        ahead = {group.lag.step.stage: self._ahead(group) for group in kafka.groups}
        views = self._replicas.views(ahead, now, time.time())
        stages = self._stages(kafka, views)
        phase = phase_of(kafka, stages)
        return Status(
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            kafka=self._pipeline.kafka,
            model=self._pipeline.model,
            namespace=self._pipeline.namespace,
            phase=phase,
            watched_s=now - self._began,
            trouble=tuple(self._trouble(kafka, stages, now)),
            stages=tuple(stages),
            eta_s=until_drained([stage for stage in stages if stage.stage in READERS]),
            dead_letters=kafka.dead_letters,
            dead_letters_by_reason=self._replicas.dead_letters,
            drops_by_reason=self._replicas.drops,
            costs=costs(self._prices, stages),
            next_steps=self._pipeline.next_steps if phase == "complete" else (),
        )

    def _ahead(self, group: GroupView) -> Ahead:
        stalled = any(partition.stalled_s >= self._stuck_s for partition in group.lag.partitions)
        return Ahead(behind=group.lag.lag > 0, stalled=stalled)

    def _stages(self, kafka: KafkaView, views: Sequence[ReplicaView]) -> list[StageStatus]:
        """The producers, the readers in their order, and whatever else was found."""
        groups = {group.lag.step.stage: group for group in kafka.groups}
        of = {stage: tuple(v for v in views if v.stage == stage) for stage in dict.fromkeys(v.stage for v in views)}
        producers = [self._producers(stage, kafka, of) for stage in PRODUCERS if stage in of or stage == "produce"]
        readers = [self._reader(stage, groups.get(stage), of) for stage in READERS]
        others = [_stage(stage or "?", of[stage]) for stage in of if stage not in (*PRODUCERS, *READERS)]
        return [*producers, *readers, *others]

    def _producers(self, stage: str, kafka: KafkaView, of: Mapping[str, tuple[ReplicaView, ...]]) -> StageStatus:
        """All producers together fill `pages`; its row is the first one's."""
        if stage != "produce":
            return _stage(stage, of[stage])
        return _stage(stage, of.get(stage, ()), items=kafka.pages, minute=kafka.pages_minute, five=kafka.pages_five)

    def _reader(self, stage: str, group: GroupView | None, of: Mapping[str, tuple[ReplicaView, ...]]) -> StageStatus:
        replicas = of.get(stage, ())
        if group is None:
            return _stage(stage, replicas)
        lag, step = group.lag, group.lag.step
        since_start = _together(replicas)
        five = self._longer(lag.pace, step.group)
        pace = present(group.minute, five, since_start)
        return StageStatus(
            stage=stage,
            topic=step.topic,
            group=step.group,
            items=group.done,
            minute=group.minute,
            five=five,
            since_start=since_start,
            lag=lag.lag,
            lag_s=lag.age_s,
            eta_s=time_left(lag.lag, pace.per_second if pace is not None else 0.0),
            members=lag.members,
            partitions=lag.partitions,
            partitions_stalled=sum(partition.stalled_s >= self._stuck_s for partition in lag.partitions),
            replicas=replicas,
        )

    def _longer(self, own: Pace | None, group: str) -> Pace | None:
        """What we saw ourselves, or what a lag exporter that we can ask has seen for longer."""
        told = self._replicas.group_rate(group, time.time())
        return told if told is not None and (own is None or own.over_s < told.over_s) else own

    def _trouble(self, kafka: KafkaView, stages: Sequence[StageStatus], now: float) -> list[str]:
        found = []
        if kafka.trouble is not None and kafka.looked_at is not None:
            found.append(f"{kafka.trouble} (lag and rates are {duration(now - kafka.looked_at)} old)")
        elif kafka.looked_at is not None and now - kafka.looked_at > OLD_S:
            found.append(f"Kafka has not answered for {duration(now - kafka.looked_at)}; lag and rates are as old")
        if self._targets.left_out:
            found.append(f"{self._targets.left_out} replicas are not asked: {MOST_REPLICAS} at most")
        if kafka.pages and kafka.missing:
            found.append(f"no topic {', '.join(kafka.missing)}: give the --model, --unit … that the stages have")
        found += [
            f"{stage.stage}: {stage.lag:,} records wait, and nobody is there to work on them: start a replica"
            for stage in stages
            if stage.lag and stage.members == 0 and not stage.answering
        ]
        return found


def _stage(
    stage: str,
    replicas: tuple[ReplicaView, ...],
    *,
    items: int | None = None,
    minute: Pace | None = None,
    five: Pace | None = None,
) -> StageStatus:
    """A stage that reads no topic, or one that is not there."""
    since_start = _together(replicas)
    return StageStatus(stage, "", "", items, minute, five, since_start, None, None, None, None, (), 0, replicas)


def _together(replicas: Sequence[ReplicaView]) -> Pace | None:
    """What the replicas have done on average since each of them began."""
    paces = [replica.since_start for replica in replicas if replica.since_start is not None]
    return Pace(sum(p.per_second for p in paces), max(p.over_s for p in paces)) if paces else None
