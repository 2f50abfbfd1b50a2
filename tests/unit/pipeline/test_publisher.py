"""The publisher's waits, on a producer that never hears from Kafka."""

from __future__ import annotations

from typing import cast

import pytest
from kafka.errors import KafkaTimeoutError
from kafka.future import Future

from pipeline.errors import TryAgain
from pipeline.kafka import Cluster
from pipeline.publisher import Message, Publisher


class SilentProducer:
    """Takes everything, and hears of nothing."""

    def __init__(self, **_: object) -> None:
        pass

    def send(self, *_: object, **__: object) -> Future:
        return Future()

    def flush(self, _timeout_s: float) -> None:
        raise KafkaTimeoutError

    def close(self, timeout: float) -> None:
        pass


class SilentCluster:
    bootstrap = "nowhere:9092"

    def connected(self, *_: object, **__: object) -> SilentProducer:
        return SilentProducer()

    def max_message_bytes(self, _topic: str) -> int:
        return 1_000_000


def test_who_waits_for_an_acknowledgement_turns_so_that_the_publishers_own_limit_ends_it() -> None:
    turns: list[None] = []
    publisher = Publisher(cast("Cluster", SilentCluster()), turned=lambda: turns.append(None))
    delivery = publisher.publish([Message("t", b"k", b"v")])
    with pytest.raises(TryAgain, match="t: not acknowledged in time"):
        delivery.wait(timeout_s=0.2)
    assert len(turns) > 2
