"""The topics and groups of a pipeline: their names, and how they must be configured.

All topics have the same number of partitions, fixed when they are made: a page's partition is chosen once, in
`pages`, and a changed count would move keys away from their older versions. So an existing topic that differs is fatal.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NewType

from kafka.errors import for_code

from pipeline.errors import Fatal, TryAgain
from pipeline.kafka import Cluster
from pipeline.settings import MIB, Settings

TopicId = NewType("TopicId", str)

DAY_MS = 24 * 60 * 60 * 1000
_TOPIC_EXISTS = 36
_UNKNOWN_TOPIC = 3

COMPACTED = {"cleanup.policy": "compact", "delete.retention.ms": str(35 * DAY_MS)}
KEPT = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
"""No expiry: a time-out would delete what nobody has read; the sink trims instead."""

CORPUS = ("pages", "progress", "dead_letters")
OF_A_MODEL = ("chunks", "vectors")
LARGEST_MIB = {"pages": 8, "progress": 8, "dead_letters": 32, "chunks": 24, "vectors": 32}
"""A dead letter holds the original bytes of any other topic."""


@dataclass(frozen=True, slots=True)
class CorpusTopics:
    """What all models share."""

    pages: str
    progress: str
    dead_letters: str


@dataclass(frozen=True, slots=True)
class ModelTopics:
    """What one model, prompt and chunker setting has for itself."""

    chunks: str
    vectors: str
    chunk_group: str
    embed_group: str


def corpus_topics(settings: Settings) -> CorpusTopics:
    return CorpusTopics(*(_prefixed(settings, name) for name in ("pages", "progress", "dead_letters")))


def model_topics(settings: Settings, tag: str) -> ModelTopics:
    return ModelTopics(
        chunks=_prefixed(settings, f"chunks.{tag}"),
        vectors=_prefixed(settings, f"vectors.{tag}"),
        chunk_group=_prefixed(settings, f"chunk.{tag}"),
        embed_group=_prefixed(settings, f"embed.{tag}"),
    )


def lance_group(settings: Settings, table: str) -> str:
    """The group whose committed offsets are the public copy of the table's fence."""
    return _prefixed(settings, f"lance.{table}")


def wanted_configs(kind: str) -> dict[str, str]:
    """How a topic of this kind (one of `CORPUS` or `OF_A_MODEL`) must be configured."""
    policy = COMPACTED if kind in ("pages", "progress") else KEPT
    return {**policy, "max.message.bytes": str(LARGEST_MIB[kind] * MIB)}


def ensure_corpus(cluster: Cluster, settings: Settings) -> CorpusTopics:
    """Makes the corpus topics, or checks those that exist. Raises Fatal when one is configured otherwise."""
    topics = corpus_topics(settings)
    _ensure(cluster, settings, {getattr(topics, kind): wanted_configs(kind) for kind in CORPUS})
    return topics


def ensure_model(cluster: Cluster, settings: Settings, tag: str) -> ModelTopics:
    """Makes a model's topics, or checks those that exist. Raises Fatal when one is configured otherwise."""
    topics = model_topics(settings, tag)
    _ensure(cluster, settings, {getattr(topics, kind): wanted_configs(kind) for kind in OF_A_MODEL})
    return topics


def topic_ids(cluster: Cluster, names: Iterable[str]) -> dict[str, TopicId]:
    """Kafka's ids of these topics: a recreated topic has the old name and a new id."""
    return {name: TopicId(str(cluster.describe(name)["topic_id"])) for name in names}


def _prefixed(settings: Settings, name: str) -> str:
    return f"{settings.namespace}.{name}" if settings.namespace else name


def _ensure(cluster: Cluster, settings: Settings, wanted: dict[str, dict[str, str]]) -> None:
    missing = {name: configs for name, configs in wanted.items() if not _exists(cluster, name)}
    if missing:
        _create(cluster, settings, missing)
    for name, configs in wanted.items():
        if name not in missing:
            _check(cluster, settings, name, configs)


def _exists(cluster: Cluster, name: str) -> bool:
    found = cluster.call(lambda: cluster.admin.describe_topics([name]))[0]
    if found["error_code"] not in (0, _UNKNOWN_TOPIC):
        raise TryAgain(f"topic {name}: {for_code(found['error_code']).__name__}")
    return bool(found["error_code"] == 0)


def _create(cluster: Cluster, settings: Settings, missing: dict[str, dict[str, str]]) -> None:
    brokers = len(cluster.call(cluster.admin.describe_cluster)["brokers"])
    replicas = settings.replication or (3 if brokers >= 3 else 1)
    if replicas > brokers:
        raise Fatal(f"--replication {replicas} needs as many brokers, the cluster has {brokers}")
    safe = {"min.insync.replicas": "2"} if replicas >= 3 else {}
    wanted = {
        name: {"num_partitions": settings.partitions, "replication_factor": replicas, "configs": {**configs, **safe}}
        for name, configs in missing.items()
    }
    answer = cluster.call(lambda: cluster.admin.create_topics(wanted, raise_errors=False))
    for topic in answer["topics"]:
        if topic["error_code"] not in (0, _TOPIC_EXISTS):
            reason = topic.get("error_message") or for_code(topic["error_code"]).__name__
            raise Fatal(f"topic {topic['name']} cannot be made: {reason}")
    _await_leaders(cluster, list(missing))
    for name, configs in missing.items():
        _check(cluster, settings, name, configs)  # another process may have made it first


def _await_leaders(cluster: Cluster, names: list[str]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = cluster.call(lambda: cluster.admin.describe_topics(names))
        if all(not t["error_code"] and all(p["leader_id"] >= 0 for p in t["partitions"]) for t in found):
            return
        time.sleep(0.05)
    raise TryAgain(f"topics {', '.join(names)}: no leader for every partition after 30 s")


def _check(cluster: Cluster, settings: Settings, name: str, configs: dict[str, str]) -> None:
    count = len(cluster.partitions(name))
    if count != settings.partitions:
        raise Fatal(
            f"topic {name} has {count} partitions, --partitions (CIRROSTREAM_PARTITIONS) says {settings.partitions}: "
            f"set it to {count}, or use another --namespace; a changed count would part pages from their older versions"
        )
    found = cluster.configs(name)
    policy = configs["cleanup.policy"]
    if found["cleanup.policy"] != policy:
        raise Fatal(
            f"topic {name} has cleanup.policy={found['cleanup.policy']}, needs {policy}: "
            "change it with kafka-configs, or use another --namespace"
        )
    if policy == "delete" and found["retention.ms"] != "-1":
        raise Fatal(
            f"topic {name} has retention.ms={found['retention.ms']}, needs -1: what nobody has read would expire"
        )
    if int(found["max.message.bytes"]) < int(configs["max.message.bytes"]):
        raise Fatal(
            f"topic {name} has max.message.bytes={found['max.message.bytes']}, needs {configs['max.message.bytes']}"
        )
