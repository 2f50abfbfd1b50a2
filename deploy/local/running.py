"""Finds the Kafka that runs on a data folder, and its address."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from deploy.local.claim import owner_of
from pipeline.kafka import bootstrap_file


def claim_path(data_dir: Path) -> Path:
    """The file that whoever runs the broker holds locked."""
    return data_dir / "kafka" / "claim"


def running_kafka(data_dir: Path) -> str | None:
    """The address of the local Kafka that runs on `data_dir` and answers, or None.

    The file alone proves nothing: after kill -9 or a reboot it is a dead broker's, and its port may be a stranger's.
    """
    if owner_of(claim_path(data_dir)) is None:
        return None
    with suppress(FileNotFoundError):
        address = bootstrap_file(data_dir).read_text().strip()
        if answers(address):
            return address
    return None


def answers(bootstrap: str, timeout_s: float = 2.0) -> bool:
    """True when a broker there answers and takes requests: a fenced one, as at start, is not in its own list."""
    try:
        with _quiet_client():
            client = KafkaAdminClient(
                bootstrap_servers=bootstrap, bootstrap_timeout_ms=int(timeout_s * 1000), request_timeout_ms=2000
            )
    except (KafkaError, OSError, ValueError):
        return False
    try:
        return bool(client.describe_cluster()["brokers"])
    except (KafkaError, OSError, KeyError):
        return False
    finally:
        client.close()


@contextmanager
def _quiet_client() -> Iterator[None]:
    """Keeps the client from logging every refused connection as an error: here it is what is being asked."""
    logger = logging.getLogger("kafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
