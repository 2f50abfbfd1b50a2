"""When workers that others feed may end."""

from __future__ import annotations

from deploy.local.drained import Drained
from pipeline.lag.backlog import STANDSTILL_S
from tests.unit.pipeline.lag.test_backlog import CHUNK, EMBED, WrittenLog

PATIENCE_S = 60.0


def drained() -> Drained:
    return Drained([CHUNK, EMBED], PATIENCE_S)


def worked_off() -> WrittenLog:
    return WrittenLog({"pages": [5, 3], "chunks": [5, 3]}, {"chunk.m": {0: 5, 1: 3}, "embed.m": {0: 5, 1: 3}})


def turned(rule: Drained, log: WrittenLog, seconds: range) -> list[bool]:
    return [rule.turn(log, float(second)) for second in seconds]


def test_it_ends_when_nothing_has_come_for_the_time_that_was_asked_for() -> None:
    rule, log = drained(), worked_off()
    assert not any(turned(rule, log, range(60)))
    assert rule.turn(log, 60.0)
    assert rule.complete


def test_a_pause_of_whoever_feeds_it_is_no_end() -> None:
    rule, log = drained(), worked_off()
    turned(rule, log, range(50))
    log.ends["pages"] = [6, 3]
    assert not any(turned(rule, log, range(50, 200))), "the page is not embedded yet"
    log.committed["chunk.m"], log.ends["chunks"] = {0: 6, 1: 3}, [6, 3]
    assert not any(turned(rule, log, range(200, 300)))
    log.committed["embed.m"] = {0: 6, 1: 3}
    assert turned(rule, log, range(300, 361)) == [False] * 60 + [True]


def test_a_host_that_only_embeds_waits_for_chunkers_elsewhere() -> None:
    rule, log = drained(), worked_off()
    log.committed["chunk.m"] = {0: 5, 1: 2}
    assert not any(turned(rule, log, range(600)))


def test_ends_that_a_compacted_topic_has_no_records_at_keep_nobody() -> None:
    rule, log = drained(), worked_off()
    log.committed["chunk.m"], log.empty = {0: 5, 1: 2}, {"pages"}
    answers = turned(rule, log, range(100))
    assert True in answers
    assert PATIENCE_S <= answers.index(True) <= PATIENCE_S + 4 * STANDSTILL_S


def test_kafka_is_asked_at_most_once_a_second() -> None:
    rule, log = drained(), worked_off()
    log.committed["chunk.m"] = {}
    asked = 0

    class CountingLog(WrittenLog):
        def backlog(self, step):  # type: ignore[no-untyped-def]
            nonlocal asked
            asked += 1
            return super().backlog(step)

    counting = CountingLog(log.ends, log.committed)
    for tenth in range(100):
        rule.turn(counting, tenth / 10)
    assert asked <= 10
