"""The completion rule, on a log that the test fills: for a run, for a view, and for workers that others feed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.lag.backlog import Backlog, Step
from pipeline.offsets import TopicLog
from pipeline.status.completion import STANDSTILL_S, Completion

CHUNK = Step("chunk", "pages", "chunk.m")
EMBED = Step("embed", "chunks", "embed.m")
LANCE = Step("lance", "vectors", "lance.t")
IDLE_S = 60.0


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

    def look(self) -> dict[Step, Backlog]:
        """All steps whose topic is there."""
        return {step: self._backlog(step) for step in (CHUNK, EMBED, LANCE) if step.topic in self.ends}

    def _backlog(self, step: Step) -> Backlog:
        starts = self.starts.get(step.topic, [0, 0])
        leaderless = step.topic in self.leaderless
        known = 1 if leaderless else 2
        starts_and_ends = (dict(enumerate(offsets[:known])) for offsets in (starts, self.ends[step.topic]))
        return Backlog(step, self.committed.get(step.group, {}), TopicLog("id", *starts_and_ends, leaderless))

    def has_records(self, topic: str, start: Mapping[int, int], ends: Mapping[int, int]) -> bool:
        self.probes += 1
        return topic not in self.empty


def turned(rule: Completion, log: WrittenLog, now: float) -> bool:
    """The answer of the rule to a look now."""
    return rule.turn(log, log.look(), now)


def filled() -> WrittenLog:
    return WrittenLog({"pages": [5, 3], "chunks": [5, 3], "vectors": [5, 3]})


def test_it_is_complete_only_when_every_stage_has_committed_everything() -> None:
    log, rule = filled(), Completion([CHUNK, EMBED, LANCE])
    assert not turned(rule, log, 0.0)
    log.committed["chunk.m"] = {0: 5, 1: 3}
    assert not turned(rule, log, 0.3)
    log.committed["embed.m"] = {0: 5, 1: 3}
    assert not turned(rule, log, 0.6)
    log.committed["lance.t"] = {0: 5, 1: 2}
    assert not turned(rule, log, 0.9)
    log.committed["lance.t"] = {0: 5, 1: 3}
    assert turned(rule, log, 1.2)
    assert log.probes == 0


def test_a_later_topics_end_is_taken_when_the_stage_before_it_is_done() -> None:
    """Taken at the beginning, the ends of `chunks` would be 0, and an embedder that has seen nothing would be done."""
    log = WrittenLog({"pages": [5, 0], "chunks": [0, 0], "vectors": [0, 0]})
    rule = Completion([CHUNK, EMBED, LANCE])
    assert not turned(rule, log, 0.0)
    log.ends["chunks"], log.committed["chunk.m"] = [5, 0], {0: 5}
    assert not turned(rule, log, 0.3)
    assert rule.ends[EMBED] == {0: 5, 1: 0}


def test_nothing_is_complete_while_a_partition_has_no_leader() -> None:
    log, rule = filled(), Completion([CHUNK])
    log.committed["chunk.m"], log.leaderless = {0: 5}, {"pages"}
    assert not turned(rule, log, 0.0)
    log.leaderless = set()
    assert not turned(rule, log, 0.3)
    log.committed["chunk.m"] = {0: 5, 1: 3}
    assert turned(rule, log, 0.6)


def test_an_empty_source_is_complete_at_once() -> None:
    empty = WrittenLog({"pages": [0, 0], "chunks": [0, 0], "vectors": [0, 0]})
    assert turned(Completion([CHUNK, EMBED, LANCE]), empty, 0.0)


def test_what_was_trimmed_before_a_group_ever_committed_is_nothing_to_do() -> None:
    log = filled()
    log.starts = {"pages": [5, 3], "chunks": [5, 3], "vectors": [5, 3]}
    assert turned(Completion([CHUNK, EMBED, LANCE]), log, 0.0)


def test_offsets_that_compaction_has_emptied_do_not_keep_it_waiting() -> None:
    log, rule = filled(), Completion([CHUNK])
    log.committed["chunk.m"] = {0: 4, 1: 3}
    log.empty.add("pages")
    assert not turned(rule, log, 0.0)
    assert not turned(rule, log, STANDSTILL_S / 2), "a busy group is not asked about"
    assert turned(rule, log, STANDSTILL_S + 0.1)


def test_a_group_that_stands_still_before_records_is_waited_for() -> None:
    log, rule = filled(), Completion([CHUNK])
    log.committed["chunk.m"] = {0: 4, 1: 3}
    assert not any(turned(rule, log, second * STANDSTILL_S) for second in range(10))
    assert log.probes >= 5


def test_what_comes_into_pages_after_the_reading_is_not_waited_for() -> None:
    log, rule = filled(), Completion([CHUNK])
    assert not turned(rule, log, 0.0)
    log.ends["pages"] = [500, 300]
    log.committed["chunk.m"] = {0: 5, 1: 3}
    assert turned(rule, log, 0.3)


# Workers that others feed


def drained() -> Completion:
    return Completion([CHUNK, EMBED], idle_s=IDLE_S)


def worked_off() -> WrittenLog:
    return WrittenLog({"pages": [5, 3], "chunks": [5, 3]}, {"chunk.m": {0: 5, 1: 3}, "embed.m": {0: 5, 1: 3}})


def each_second(rule: Completion, log: WrittenLog, seconds: range) -> list[bool]:
    return [turned(rule, log, float(second)) for second in seconds]


def test_it_ends_when_nothing_has_come_for_the_time_that_was_asked_for() -> None:
    rule, log = drained(), worked_off()
    assert not any(each_second(rule, log, range(60)))
    assert turned(rule, log, 60.0)


def test_a_pause_of_whoever_feeds_it_is_no_end() -> None:
    rule, log = drained(), worked_off()
    each_second(rule, log, range(50))
    log.ends["pages"] = [6, 3]
    assert not any(each_second(rule, log, range(50, 200))), "the page is not embedded yet"
    log.committed["chunk.m"], log.ends["chunks"] = {0: 6, 1: 3}, [6, 3]
    assert not any(each_second(rule, log, range(200, 300)))
    log.committed["embed.m"] = {0: 6, 1: 3}
    assert each_second(rule, log, range(300, 361)) == [False] * 60 + [True]


def test_a_host_that_only_embeds_waits_for_chunkers_elsewhere() -> None:
    rule, log = drained(), worked_off()
    log.committed["chunk.m"] = {0: 5, 1: 2}
    assert not any(each_second(rule, log, range(600)))


def test_ends_that_a_compacted_topic_has_no_records_at_keep_nobody() -> None:
    rule, log = drained(), worked_off()
    log.committed["chunk.m"], log.empty = {0: 5, 1: 2}, {"pages"}
    answers = each_second(rule, log, range(100))
    assert True in answers
    assert IDLE_S <= answers.index(True) <= IDLE_S + 4 * STANDSTILL_S


# A view, which does not know when the reading is over


def test_the_end_is_believed_after_a_quiet_while_and_taken_back_when_more_comes_or_a_group_is_set_back() -> None:
    log, rule = WrittenLog({"pages": [5, 0], "chunks": [5, 0]}), Completion([CHUNK, EMBED], quiet_s=10)
    assert not turned(rule, log, 0.0)
    log.committed = {"chunk.m": {0: 5}, "embed.m": {0: 5}}
    assert not turned(rule, log, 9.0)
    assert turned(rule, log, 10.0)
    log.committed["embed.m"] = {0: 2}
    assert not turned(rule, log, 11.0)
    log.committed["embed.m"] = {0: 5}
    assert turned(rule, log, 30.0)
    log.ends["pages"] = [6, 0]
    assert not turned(rule, log, 31.0)
