"""Groups from outside: positions for one without members, and the numbers of Kafka's own `kafka-consumer-groups`."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kafka.structs import OffsetAndMetadata, TopicPartition

from deploy.local.jars import JavaProgram, kafka_program
from pipeline.kafka import Cluster
from tests.waiting import wait_until

TOOLS_LOCK = Path(__file__).with_name("kafka-tools.lock.json")
"""The one jar that the broker does not need."""
COMMAND = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
OPTIONS = (
    *("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
)


@dataclass(frozen=True, slots=True)
class Described:
    """A line of its table; None where it prints `-`."""

    committed: int | None
    end: int | None
    lag: int | None


def set_positions(cluster: Cluster, group: str, positions: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
    """Commits for a group without members, once its coordinator is up, which a fresh broker's is not at once."""

    def accepted() -> bool:
        answer = cluster.call(lambda: cluster.admin.alter_group_offsets(group, dict(positions)))
        return not any(error.errno for error in answer.values())

    wait_until(accepted, f"the positions of {group} are set")


def kafka_tools() -> JavaProgram:
    program = kafka_program()
    return replace(program, jars=(*program.jars, *kafka_program(TOOLS_LOCK).jars))


def describe(bootstrap: str, *groups: str) -> dict[tuple[str, str, int], Described]:
    """Kafka's own numbers by group, topic and partition; nothing for a group that it does not know."""
    named = [argument for group in groups for argument in ("--group", group)]
    command = kafka_tools().command(COMMAND, "--bootstrap-server", bootstrap, "--describe", *named, options=OPTIONS)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = {}
    for line in done.stdout.splitlines():
        columns = line.split()
        if columns and columns[0] in groups and columns[2].isdigit():
            found[columns[0], columns[1], int(columns[2])] = Described(*map(_number, columns[3:6]))
    assert done.returncode == 0 or "GroupIdNotFoundException" in done.stderr + done.stdout, done.stderr + done.stdout
    return found


def _number(text: str) -> int | None:
    return None if text == "-" else int(text)
