"""Puts together what Kafka and the replicas say, as often as it is asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from pipeline.errors import TryAgain
from pipeline.lag.rates import Pace, duration
from pipeline.lag.view import GroupLag
from pipeline.status.document import (
    PRODUCERS,
    READERS,
    Prices,
    StageStatus,
    Status,
    Tokens,
    costs,
    phase_of,
    present,
    until_drained,
)
from pipeline.status.kafka_watcher import KafkaView, KafkaWatcher
from pipeline.status.readings import Reading
from pipeline.status.replicas import Ahead, Replicas, ReplicaView
from pipeline.status.scrape import ask
from pipeline.status.targets import MOST_REPLICAS, Target
from pipeline.status.whole import Source, Whole

FIRST_LOOK_S = 30.0
OLD_S = 10.0
ENOUGH_PAGES = 20
"""From so many pages on, cut and not embedded, their own mean of tokens says more than that of all."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The pipeline that is looked at, in the operator's words."""

    kafka: str
    namespace: str
    model: str
    next_steps: tuple[str, ...]


NO_PRICES = Prices()


class Finder(Protocol):
    """Finds the replicas to ask; called at every look."""

    left_out: int

    def find(self) -> list[Target]: ...


class StatusCollector:
    """`take` is one look at everything.

    Args:
        source: what there is to read, for a run that knows it: its view then counts what was done since it began.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        kafka: KafkaWatcher,
        targets: Finder,
        stuck_s: float,
        *,
        prices: Prices = NO_PRICES,
        source: Source | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._kafka = kafka
        self._targets = targets
        self._prices = prices
        self._stuck_s = stuck_s
        self._whole = Whole(source)
        self._lock = threading.RLock()
        self.replicas = Replicas(stuck_s)
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

    def await_end(self) -> None:
        """Takes a run's source for ended: what was sent is the whole, and all is done when that is."""
        self._whole.end()
        self._kafka.await_end()

    def ask(self) -> float:
        """Asks the replicas now; when it was, on the monotonic clock."""
        with self._lock:
            targets = self._targets.find()
            answers = ask(target.address for target in targets if target.address and not target.gone)
            now = time.monotonic()
            self.replicas.take(targets, answers, now)
        return now

    def total(self, stage: str) -> Reading:
        """All that the stage's processes have counted; a look in another thread is waited for."""
        with self._lock:
            return self.replicas.total(stage)

    def take(self) -> Status:
        """Asks the replicas now, and puts beside it what Kafka said last."""
        with self._lock:
            return self._take(self.ask(), self._kafka.view)

    def _take(self, now: float, kafka: KafkaView) -> Status:
        self._whole.begin(kafka)
        ahead = {group.step.stage: self._ahead(group) for group in kafka.groups}
        stages = self._whole.shared(self._stages(kafka, self.replicas.views(ahead, now, time.time())), kafka)
        phase, counted = phase_of(kafka, stages), self.replicas.total()
        readers = [stage for stage in stages if stage.lag is not None]
        return Status(
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            kafka=self._pipeline.kafka,
            model=self._pipeline.model,
            namespace=self._pipeline.namespace,
            phase=phase,
            watched_s=now - self._began,
            trouble=tuple(self._trouble(kafka, stages, now)),
            stages=tuple(stages),
            eta_s=until_drained(readers),
            dead_letters=kafka.dead_letters,
            dead_letters_by_reason=_by_reason(counted.dead_letters),
            drops_by_reason=_by_reason(counted.drops),
            costs=costs(self._prices, stages),
            next_steps=self._pipeline.next_steps if phase == "complete" else (),
            share=readers[-1].share if readers else None,
        )

    def _ahead(self, group: GroupLag) -> Ahead:
        stalled = any(partition.stalled_s >= self._stuck_s for partition in group.partitions)
        return Ahead(behind=group.lag > 0, stalled=stalled)

    def _stages(self, kafka: KafkaView, views: Sequence[ReplicaView]) -> list[StageStatus]:
        """The producers, the readers in their order, and whatever else was found."""
        groups = {group.step.stage: group for group in kafka.groups}
        of = {stage: tuple(v for v in views if v.stage == stage) for stage in dict.fromkeys(v.stage for v in views)}
        expected = {"produce", *(step.stage for step in self._kafka.steps)}
        known = [stage for stage in (*PRODUCERS, *READERS) if stage in expected or stage in of]
        found = []
        for stage in (*known, *(stage for stage in of if stage not in known)):
            replicas = of.get(stage, ())
            bare = StageStatus(stage or "?", replicas=replicas, since_start=_together(replicas))
            if stage == "produce":
                found.append(self._reading(bare, kafka))
            else:
                found.append(self._working_off(bare, groups[stage]) if stage in groups else bare)
        return found

    def _reading(self, bare: StageStatus, kafka: KafkaView) -> StageStatus:
        """All producers together fill `pages`; its row is the first one's."""
        left = self._whole.unread(kafka)
        found = replace(bare, items=self._whole.sent(kafka), minute=kafka.pages_minute, five=kafka.pages_five, lag=left)
        return found if left is None else replace(found, eta_s=found.time_for())

    def _working_off(self, bare: StageStatus, group: GroupLag) -> StageStatus:
        found = replace(
            bare,
            topic=group.step.topic,
            group=group.step.group,
            items=group.done - self._whole.done_before(bare.stage),
            minute=group.minute,
            five=self._longer(group.pace, group.step.group),
            lag=group.lag,
            lag_s=group.age_s,
            members=group.members,
            partitions=group.partitions,
            partitions_stalled=sum(partition.stalled_s >= self._stuck_s for partition in group.partitions),
            tokens=self._tokens(group.lag, bare.replicas) if bare.stage == "embed" else None,
        )
        return replace(found, eta_s=found.time_for(), replicas=_with_spare(found))

    def _tokens(self, lag: int, replicas: Sequence[ReplicaView]) -> Tokens | None:
        """The work of the embedders, where they and the chunkers tell their tokens."""
        cut, embedded = self.replicas.total("chunk"), self.replicas.total("embed")
        paces = [present(replica.token_rate, replica.average(replica.tokens)) for replica in replicas]
        known = cut if cut.tokens else embedded
        if not any(paces) or not known.tokens or not known.records:
            return None
        mean = known.tokens / known.records
        pages, tokens = cut.records - embedded.records, cut.tokens - embedded.tokens
        waiting = lag * (tokens / pages if pages >= ENOUGH_PAGES and tokens > 0 else mean)
        source = self._whole.source
        told = source.tokens_a_page if source is not None else None
        return Tokens(sum(pace.per_second for pace in paces if pace is not None), waiting, told or mean)

    def _longer(self, own: Pace | None, group: str) -> Pace | None:
        """Our own observation, or that of a lag exporter that has watched for longer."""
        told = self.replicas.group_rate(group, time.time())
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


def _with_spare(stage: StageStatus) -> tuple[ReplicaView, ...]:
    """The stage's replicas; those that are in its group and got no partition, and so never get ready, are idle.

    One that loads its model is in no group yet, so Kafka counts fewer members than replicas answer.
    """
    held = sum(replica.partitions or 0 for replica in stage.replicas if replica.state != "no answer")
    if not 0 < len(stage.partitions) <= held or (stage.members or 0) < stage.answering:
        return stage.replicas
    return tuple(
        replace(replica, state="idle", note=", ".join(filter(None, ("no partitions", replica.note))))
        if replica.state == "not ready" and replica.partitions == 0
        else replica
        for replica in stage.replicas
    )


def _by_reason(counts: Mapping[str, float]) -> dict[str, int]:
    return {reason: int(number) for reason, number in sorted(counts.items())}


def _together(replicas: Sequence[ReplicaView]) -> Pace | None:
    """The replicas' average rate since each of them began."""
    paces = [replica.since_start for replica in replicas if replica.since_start is not None]
    return Pace(sum(p.per_second for p in paces), max(p.over_s for p in paces)) if paces else None
