"""The question whether anything is left in a topic, of a user who may not read it."""

from __future__ import annotations

from typing import Any

from kafka.errors import TopicAuthorizationFailedError

from pipeline.lag.backlog import ClusterProbe


class Unreadable:
    """A cluster with a topic that may be described and not read, and the consumer of it."""

    bootstrap = "kafka:9092"
    closed = False

    def consumer(self, **_: object) -> Any:
        return self

    def unsubscribe(self) -> None: ...

    def assign(self, _: object) -> None: ...

    def seek(self, *_: object) -> None: ...

    def poll(self, **_: object) -> Any:
        raise TopicAuthorizationFailedError({"pages"})

    def close(self) -> None:
        self.closed = True


def test_what_may_not_be_read_counts_as_something_left_and_ends_nobody() -> None:
    cluster: Any = Unreadable()
    assert ClusterProbe(cluster).has_records("pages", {0: 3, 1: 5}, {0: 9, 1: 5})
    assert cluster.closed
