"""What Kafka itself says of a group: its own `kafka-consumer-groups --describe`, run from its own jars."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.local.jars import JavaProgram, kafka_program

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
