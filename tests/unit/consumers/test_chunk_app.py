"""faust as the chunk stage uses it: what it may hold in memory, what it leaves behind, what its errors mean."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import errors as kafka
from faust.types import TP

from consumers.chunk_app import BUFFERED_BYTES, POLL_RECORDS, App, Consumer, new_app
from consumers.chunk_errors import in_words
from pipeline.errors import Exit, Fatal
from pipeline.kafka import Cluster
from pipeline.metrics import Metrics
from pipeline.settings import MIB, KafkaSettings

PAGES = TP("pages", 0)


def consumer() -> Consumer:
    """A consumer that was never connected."""
    made: Consumer = object.__new__(Consumer)
    made._taken = asyncio.Event()
    made._waiting = {}
    return made


def message(offset: int) -> Any:
    return SimpleNamespace(tp=PAGES, offset=offset)


async def has_room(consumer: Consumer) -> bool:
    """Whether it would take more from the fetcher now."""
    try:
        async with asyncio.timeout(0.05):
            await consumer._room()
    except TimeoutError:
        return False
    return True


def test_large_pages_that_wait_for_the_agent_keep_more_from_being_fetched_until_they_are_taken() -> None:
    async def see() -> None:
        one = consumer()
        size = 8 * MIB
        for offset in range(BUFFERED_BYTES // size):
            assert await has_room(one)
            one._waiting[PAGES, offset] = size
        assert not await has_room(one)
        one.taken(message(0))
        assert await has_room(one)

    asyncio.run(see())


def test_a_page_from_before_a_rebalance_takes_no_room() -> None:
    one = consumer()
    one._waiting[PAGES, 0] = BUFFERED_BYTES
    one._forget()
    assert asyncio.run(has_room(one))
    one.taken(message(0))


def test_what_may_wait_is_far_from_gigabytes() -> None:
    assert BUFFERED_BYTES + POLL_RECORDS * 8 * MIB <= 100 * MIB


def test_it_makes_no_folder_in_the_shared_temporary_folder_nor_where_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path)
    cluster = Cluster(KafkaSettings(bootstrap_servers="localhost:1"), tmp_path)
    app = new_app(cluster, "group", MIB, 10.0, Metrics("chunk"))
    asyncio.run(cast("App", app).on_first_start())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (kafka.TopicAuthorizationFailedError("chunks"), Exit.FATAL, "deploy.doctor"),
        (kafka.GroupAuthorizationFailedError("chunk"), Exit.FATAL, "lacks a right"),
        (kafka.AuthenticationFailedError("no"), Exit.FATAL, "KAFKA_SASL_"),
        (kafka.UnsupportedSaslMechanismError("PLAIN"), Exit.FATAL, "does not let this user in"),
        (kafka.KafkaConnectionError("away"), Exit.TRY_AGAIN, "away"),
        (kafka.KafkaTimeoutError(), Exit.TRY_AGAIN, "KafkaTimeoutError"),
        (ConnectionResetError("reset by peer"), Exit.TRY_AGAIN, "reset by peer"),
        (TimeoutError(), Exit.TRY_AGAIN, "TimeoutError"),
        (KeyError("x"), Exit.FATAL, "bug"),
    ],
)
def test_what_an_error_means(error: Exception, code: Exit, said: str) -> None:
    found = in_words(error, "sending chunks")
    assert found.exit_code == code
    assert str(found).startswith("sending chunks: ")
    assert said in str(found)
    assert "\n" not in str(found)


def test_our_own_errors_mean_what_they_say() -> None:
    error = Fatal("the disk is full")
    assert in_words(error, "sending chunks") is error
