"""Sets a stopped group back, so that its stage does its work again: `python -m pipeline.replay --stage chunk`.

Safe at any time: what comes again has its old `source`, and the table takes only what is newer than it has. Only the
chunk stage reaches every page, because `pages` keeps the whole corpus; `embed` and `lance` go back to what has not
been trimmed.
"""

from __future__ import annotations

import time
from typing import Annotated, Literal

from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata
from pydantic import AfterValidator, Field

from pipeline import cli, model_files, topics
from pipeline.errors import CheckFailed, Exit, Fatal, UsageError
from pipeline.kafka import Cluster
from pipeline.offsets import group_members
from pipeline.settings import ModelSettings, TableSettings
from pipeline.terminal import say

EMPTY_SECONDS = 30.0
"""How long to wait for a stopped replica's membership to expire; a static member's does with its session."""


def _offsets(text: str) -> str:
    parse_offsets(text)
    return text


class ReplaySettings(ModelSettings, TableSettings):
    """Settings of a replay."""

    stage: Literal["chunk", "embed", "lance"] = Field("chunk", description="chunk, embed or lance.")
    offsets: Annotated[str, AfterValidator(_offsets)] = Field(
        "", description="PARTITION:OFFSET,… to go back to; empty: the log's start of every partition."
    )


app = cli.new_app("Sets a stopped stage back to the start of its topic.")


@cli.command(app, ReplaySettings)
def replay(settings: ReplaySettings) -> int:
    """Sets a stage back; its replicas must be stopped. Start them again afterwards."""
    cluster = Cluster.connect(settings)
    try:
        topic, group = stage_of(settings)
        moved = set_back(cluster, topic, group, parse_offsets(settings.offsets))
    finally:
        cluster.close()
    say(f"group {group}: {sum(moved.values())} records of {topic} will be processed again; start the stage now")
    return Exit.DONE


def parse_offsets(text: str) -> dict[int, int]:
    """`0:100,3:7` as {0: 100, 3: 7}. Raises ValueError for anything else."""
    offsets: dict[int, int] = {}
    for part in filter(None, text.split(",")):
        partition, colon, offset = part.partition(":")
        if not colon or not partition.strip().isdecimal() or not offset.strip().isdecimal():
            raise ValueError(f"PARTITION:OFFSET,… with whole numbers, not {part!r}")
        offsets[int(partition)] = int(offset)
    return offsets


def stage_of(settings: ReplaySettings) -> tuple[str, str]:
    """The topic that a stage reads, and its group."""
    names = topics.model_topics(settings, model_files.resolve(settings, weights=False).tag)
    if settings.stage == "chunk":
        return topics.corpus_topics(settings).pages, names.chunk_group
    if settings.stage == "embed":
        return names.chunks, names.embed_group
    return names.vectors, topics.lance_group(settings, settings.table)


def set_back(cluster: Cluster, topic: str, group: str, wanted: dict[int, int]) -> dict[int, int]:
    """Commits `wanted`, or the log's start, for the group; gives how many records each partition has to go again.

    Raises:
        CheckFailed: the group still has members.
        UsageError: a partition that the topic does not have, or an offset that its log does not have.
    """
    log = cluster.log(topic)
    starts, ends = log.starts, log.ends
    target = wanted or starts
    for partition, offset in target.items():
        if partition not in ends or not starts[partition] <= offset <= ends[partition]:
            there = f"{starts[partition]} to {ends[partition]}" if partition in ends else "no such partition"
            raise UsageError(f"--offsets {partition}:{offset}: {topic} has {there}")
    _await_empty(cluster, group)
    places = {TopicPartition(topic, p): OffsetAndMetadata(o, "", -1) for p, o in target.items()}
    answer = cluster.call(lambda: cluster.admin.alter_group_offsets(group, places))
    refused = {tp: error for tp, error in (answer or {}).items() if getattr(error, "errno", 0)}
    if refused:
        raise Fatal(f"group {group}: Kafka refused the new offsets: {refused}")
    return {partition: ends[partition] - offset for partition, offset in target.items()}


def _await_empty(cluster: Cluster, group: str) -> None:
    deadline = time.monotonic() + EMPTY_SECONDS
    while True:
        members = group_members(cluster, [group])[group]
        if members == 0:
            return
        if time.monotonic() > deadline:
            raise CheckFailed(f"group {group} has {members} members at work: stop its replicas first")
        time.sleep(0.5)


if __name__ == "__main__":
    cli.run(app, "pipeline.replay")
