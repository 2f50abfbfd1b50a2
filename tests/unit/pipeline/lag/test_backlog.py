"""When nothing is left to do: the completion rule, on a log that the test fills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.lag.backlog import STANDSTILL_S, Backlog, Drain, Step

CHUNK = Step("chunk", "pages", "chunk.m")
EMBED = Step("embed", "chunks", "embed.m")
LANCE = Step("lance", "vectors", "lance.t")


@dataclass
class WrittenLog:
    """Two partitions a topic; `empty` names topics whose last offsets have no records."""

    ends: dict[str, list[int]]
    committed: dict[str, dict[int, int]] = field(default_factory=dict)
    starts: dict[str, list[int]] = field(default_factory=dict)
    empty: set[str] = field(default_factory=set)
    leaderless: set[str] = field(default_factory=set)
    """Topics whose second partition has no leader."""
    probes: int = 0

    def backlog(self, step: Step) -> Backlog:
        starts = self.starts.get(step.topic, [0, 0])
        leaderless = step.topic in self.leaderless
        known = 1 if leaderless else 2
        return Backlog(
            step,
            self.committed.get(step.group, {}),
            dict(enumerate(starts[:known])),
            dict(enumerate(self.ends[step.topic][:known])),
            leaderless=leaderless,
        )

    def has_records(self, topic: str, start: Mapping[int, int], ends: Mapping[int, int]) -> bool:
        self.probes += 1
        return topic not in self.empty


def filled() -> WrittenLog:
    return WrittenLog({"pages": [5, 3], "chunks": [5, 3], "vectors": [5, 3]})


def test_it_is_complete_only_when_every_stage_has_committed_everything() -> None:
    log, drain = filled(), Drain([CHUNK, EMBED, LANCE])
    assert not drain.turn(log, 0.0)
    log.committed["chunk.m"] = {0: 5, 1: 3}
    assert not drain.turn(log, 0.3)
    log.committed["embed.m"] = {0: 5, 1: 3}
    assert not drain.turn(log, 0.6)
    log.committed["lance.t"] = {0: 5, 1: 2}
    assert not drain.turn(log, 0.9)
    log.committed["lance.t"] = {0: 5, 1: 3}
    assert drain.turn(log, 1.2)
    assert log.probes == 0


def test_a_later_topics_end_is_taken_when_the_stage_before_it_is_done() -> None:
    """Taken at the beginning, the ends of `chunks` would be 0, and an embedder that has seen nothing would be done."""
    log = WrittenLog({"pages": [5, 0], "chunks": [0, 0], "vectors": [0, 0]})
    drain = Drain([CHUNK, EMBED, LANCE])
    assert not drain.turn(log, 0.0)
    log.ends["chunks"], log.committed["chunk.m"] = [5, 0], {0: 5}
    assert not drain.turn(log, 0.3)
    assert drain.ends["embed"] == {0: 5, 1: 0}


def test_nothing_is_complete_while_a_partition_has_no_leader() -> None:
    log, drain = filled(), Drain([CHUNK])
    log.committed["chunk.m"], log.leaderless = {0: 5}, {"pages"}
    assert not drain.turn(log, 0.0)
    log.leaderless = set()
    assert not drain.turn(log, 0.3)
    log.committed["chunk.m"] = {0: 5, 1: 3}
    assert drain.turn(log, 0.6)


def test_an_empty_source_is_complete_at_once() -> None:
    empty = WrittenLog({"pages": [0, 0], "chunks": [0, 0], "vectors": [0, 0]})
    assert Drain([CHUNK, EMBED, LANCE]).turn(empty, 0.0)


def test_what_was_trimmed_before_a_group_ever_committed_is_nothing_to_do() -> None:
    log = filled()
    log.starts = {"pages": [5, 3], "chunks": [5, 3], "vectors": [5, 3]}
    assert Drain([CHUNK, EMBED, LANCE]).turn(log, 0.0)


def test_offsets_that_compaction_has_emptied_do_not_keep_it_waiting() -> None:
    log, drain = filled(), Drain([CHUNK])
    log.committed["chunk.m"] = {0: 4, 1: 3}
    log.empty.add("pages")
    assert not drain.turn(log, 0.0)
    assert not drain.turn(log, STANDSTILL_S / 2), "a busy group is not asked about"
    assert drain.turn(log, STANDSTILL_S + 0.1)


def test_a_group_that_stands_still_before_records_is_waited_for() -> None:
    log, drain = filled(), Drain([CHUNK])
    log.committed["chunk.m"] = {0: 4, 1: 3}
    assert not any(drain.turn(log, second * STANDSTILL_S) for second in range(10))
    assert log.probes >= 5


def test_what_comes_into_pages_after_the_reading_is_not_waited_for() -> None:
    log, drain = filled(), Drain([CHUNK])
    assert not drain.turn(log, 0.0)
    log.ends["pages"] = [500, 300]
    log.committed["chunk.m"] = {0: 5, 1: 3}
    assert drain.turn(log, 0.3)
