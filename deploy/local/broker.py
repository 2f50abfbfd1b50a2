"""The configuration of the one broker: a KRaft node that is its own controller and listens on loopback alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploy.local.ports import HOST, free_port
from pipeline.settings import MIB

PREFERRED_PORT = 9092
LARGEST_RECORD = 36 * MIB
"""Above the 32 MiB of `vectors`, the largest of our topics."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that clients and the controller connect to."""

    clients: int
    controller: int

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.clients}"


def choose_ports(preferred: int = PREFERRED_PORT) -> Ports:
    """The preferred port when it is free, else any; and any free one for the controller."""
    clients = free_port(preferred)
    return Ports(clients, free_port(but=clients))


def properties(ports: Ports, log_folder: Path) -> str:
    """`server.properties` for a node with these ports.

    Settings that differ from Kafka's defaults, and why: one replica of everything; records as large as ours; positions
        of groups kept for a year (the default of 7 days forgets a group that is stopped between weekly dumps); no
        topics by accident; segments small enough that trimming frees disk while a run is going on; a cleaner buffer
        that fits in the small heap; sessions short enough for tests.
    """
    settings: dict[str, object] = {
        "node.id": 1,
        "process.roles": "broker,controller",
        "controller.quorum.voters": f"1@{HOST}:{ports.controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{HOST}:{ports.clients},CONTROLLER://{HOST}:{ports.controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{ports.clients}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": log_folder,
        "default.replication.factor": 1,
        "min.insync.replicas": 1,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 8,
        "offsets.retention.minutes": 60 * 24 * 365,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1_000,
        "message.max.bytes": LARGEST_RECORD,
        "replica.fetch.max.bytes": LARGEST_RECORD,
        "auto.create.topics.enable": "false",
        "log.segment.bytes": 128 * MIB,
        "log.cleaner.dedupe.buffer.size": 32 * MIB,
        "num.recovery.threads.per.data.dir": 2,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())
