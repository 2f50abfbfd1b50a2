"""Kafka's errors, wherever they come up, end as an error of ours that says what to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from kafka import errors as kafka
from kafka.consumer.fetcher import ConsumerRecord

from bench.in_memory import in_memory
from pipeline import membership
from pipeline.batches import BatchSource, Limit
from pipeline.errors import CirrostreamError, Fatal, Forbidden, Replaced, TryAgain, UsageError
from pipeline.first_positions import from_committed
from pipeline.kafka_errors import in_words
from pipeline.metrics import Metrics

MEANINGS = [
    (kafka.KafkaTimeoutError("no answer"), TryAgain),
    (kafka.NodeNotReadyError("coordinator"), TryAgain),
    (kafka.UnknownError(), TryAgain),
    (kafka.InvalidReceiveError("Invalid frame length"), TryAgain),
    (kafka.GroupAuthorizationFailedError("g"), Forbidden),
    (kafka.TopicAuthorizationFailedError("t"), Forbidden),
    (kafka.ClusterAuthorizationFailedError(), Forbidden),
    (kafka.FencedInstanceIdError(), Replaced),
    (kafka.UnsupportedSaslMechanismError(), UsageError),
    (kafka.KafkaConfigurationError("x"), UsageError),
    (kafka.InvalidSessionTimeoutError(), UsageError),
    (kafka.SaslAuthenticationFailedError(), Fatal),
    (kafka.InconsistentGroupProtocolError(), Fatal),
    (kafka.OffsetOutOfRangeError(), Fatal),
    (kafka.CorruptRecordError(), Fatal),
    (kafka.InvalidTimestampError(), Fatal),
    (kafka.IllegalStateError("Partition is not assigned"), Fatal),
]


@pytest.mark.parametrize(("error", "meaning"), MEANINGS, ids=lambda value: type(value).__name__)
def test_each_error_has_one_meaning_and_is_named(error: Exception, meaning: type[CirrostreamError]) -> None:
    found = in_words(error, "group g on t")
    assert type(found) is meaning
    assert str(found).startswith("group g on t: ")
    assert type(error).__name__ in str(found)


def test_every_error_of_kafka_python_has_a_meaning() -> None:
    every = [kind for kind in vars(kafka).values() if isinstance(kind, type) and issubclass(kind, kafka.KafkaError)]
    assert len(every) > 100
    for kind in every:
        assert isinstance(in_words(kind("x"), "it"), CirrostreamError)


def source(spoil: Callable[[Any], None]) -> BatchSource[bytes]:
    """A member that reads ten records from memory, after `spoil` has seen its consumer."""
    stopping = threading.Event()
    cluster = in_memory("t", [(b"%d" % n, b"v") for n in range(10)], stopping)
    consumer = cluster.consumer()
    spoil(consumer)
    cluster.consumer = lambda *_, **__: consumer  # type: ignore[method-assign]
    return BatchSource(
        cluster,
        "t",
        "g",
        decode=_value,
        poison=_nobody,
        newer=lambda _, __: None,
        weigh=len,
        limit=Limit(1, 0.01),
        positions=from_committed("g", ""),
        stopping=stopping,
        metrics=Metrics("test"),
    )


def _nobody(record: ConsumerRecord, deaths: int) -> None:
    raise AssertionError(f"{record} is convicted after {deaths} deaths")


def _value(record: ConsumerRecord) -> bytes:
    value: bytes = record.value
    return value


def failing(name: str, *errors: Exception) -> Callable[[Any], None]:
    """Makes one of the consumer's calls raise these, one after the other, and then work."""

    def spoil(consumer: Any) -> None:
        works, left = getattr(consumer, name), list(errors)

        def call(*arguments: Any, **options: Any) -> Any:
            if left:
                raise left.pop(0)
            return works(*arguments, **options)

        setattr(consumer, name, call)

    return spoil


@pytest.mark.parametrize("call", ["poll", "beginning_offsets", "committed", "seek", "topics", "commit"])
@pytest.mark.parametrize(("error", "meaning"), MEANINGS[4:8], ids=lambda value: type(value).__name__)
def test_whichever_call_of_a_group_member_is_refused_the_stage_ends_in_words(
    call: str, error: Exception, meaning: type[CirrostreamError]
) -> None:
    with pytest.raises(CirrostreamError, match="group g on t") as caught:
        read(source(failing(call, error)))
    assert type(caught.value) is (TryAgain if call == "seek" else meaning)


def test_a_partition_that_leaves_while_it_gets_its_position_means_another_try() -> None:
    with pytest.raises(TryAgain, match="partition 0 went"):
        read(source(failing("seek", ValueError("Unassigned partition"))))


def test_polls_that_fail_for_a_moment_are_tried_again_and_lose_nothing() -> None:
    assert read(source(failing("poll", kafka.NodeNotReadyError("n"), kafka.KafkaTimeoutError("t")))) == 10


def test_polls_that_go_on_failing_end_the_stage_with_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "POLL_DEADLINE_S", 0.3)
    with pytest.raises(TryAgain, match="NodeNotReadyError"):
        read(source(failing("poll", *[kafka.NodeNotReadyError("n")] * 1000)))


def test_a_group_that_cannot_be_left_is_left_all_the_same() -> None:
    source(failing("close", kafka.NodeNotReadyError("n"))).close()


def read(member: BatchSource[bytes]) -> int:
    records = 0
    for batch in member.batches():
        records += len(batch.records)
        member.commit(batch.next_offsets)
    return records
