"""The topics and groups of a pipeline: their names, and their making. `pipeline.topic_rules` says what each must be.

All topics have the same number of partitions, fixed when they are made: a page's partition is chosen once, in
`pages`, and a changed count would move keys away from their older versions. So an existing topic that differs is fatal.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NewType

from kafka.errors import for_code

from pipeline import topic_rules
from pipeline.errors import Fatal, TryAgain
from pipeline.kafka import Cluster
from pipeline.offsets import descriptions
from pipeline.settings import Settings
from pipeline.topic_rules import SAFE_REPLICAS, Broken

TopicId = NewType("TopicId", str)

FIXED_COUNT = "a changed count would part pages from their older versions"

_TOPIC_EXISTS = 36

CORPUS = ("pages", "progress", "dead_letters")
OF_A_MODEL = ("chunks", "vectors")


@dataclass(frozen=True, slots=True)
class CorpusTopics:
    """The topics that all models share."""

    pages: str
    progress: str
    dead_letters: str


@dataclass(frozen=True, slots=True)
class ModelTopics:
    """The topics and groups of one model, prompt and chunker setting."""

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


@dataclass(frozen=True, slots=True)
class WantedTopic:
    """A topic as it must be: made so where it is missing, checked where it is there."""

    name: str
    kind: str
    partitions: int
    replicas: int

    @property
    def configs(self) -> dict[str, str]:
        """Settings that it is made with."""
        return topic_rules.configs(self.kind, self.replicas)


def corpus_names(settings: Settings) -> dict[str, str]:
    """The corpus topics' names by kind."""
    topics = corpus_topics(settings)
    return {kind: getattr(topics, kind) for kind in CORPUS}


def model_names(settings: Settings, tag: str) -> dict[str, str]:
    """The names of a model's topics by kind."""
    topics = model_topics(settings, tag)
    return {kind: getattr(topics, kind) for kind in OF_A_MODEL}


def wanted_topics(settings: Settings, names: Mapping[str, str], brokers: int) -> list[WantedTopic]:
    """Topics of these kinds and names as they must be on a cluster of so many brokers. Pure.

    Raises:
        Fatal: more replicas are asked for than there are brokers.
    """
    replicas = settings.replication or (SAFE_REPLICAS if brokers >= SAFE_REPLICAS else 1)
    if replicas > brokers:
        raise Fatal(f"--replication {replicas} needs as many brokers, the cluster has {brokers}")
    return [WantedTopic(name, kind, settings.partitions, replicas) for kind, name in names.items()]


def ensure_corpus(cluster: Cluster, settings: Settings) -> CorpusTopics:
    """Makes the corpus topics, or checks those that exist. Raises Fatal when one is configured otherwise."""
    _ensure(cluster, settings, corpus_names(settings))
    return corpus_topics(settings)


def ensure_model(cluster: Cluster, settings: Settings, tag: str) -> ModelTopics:
    """Makes a model's topics, or checks those that exist. Raises Fatal when one is configured otherwise."""
    _ensure(cluster, settings, model_names(settings, tag))
    return model_topics(settings, tag)


def topic_ids(cluster: Cluster, names: Iterable[str]) -> dict[str, TopicId]:
    """Kafka's ids of these topics: a recreated topic has the old name and a new id."""
    return {name: TopicId(str(cluster.describe(name)["topic_id"])) for name in names}


def _prefixed(settings: Settings, name: str) -> str:
    return f"{settings.namespace}.{name}" if settings.namespace else name


def _ensure(cluster: Cluster, settings: Settings, names: Mapping[str, str]) -> None:
    there = descriptions(cluster, names.values())
    missing = {kind: name for kind, name in names.items() if name not in there}
    if missing:
        brokers = len(cluster.call(cluster.admin.describe_cluster)["brokers"])
        _create(cluster, wanted_topics(settings, missing, brokers))
    for kind, name in names.items():  # those just made, too: another process may have been first
        _check(cluster, settings, kind, name)


def _create(cluster: Cluster, missing: Sequence[WantedTopic]) -> None:
    wanted = {
        topic.name: {
            "num_partitions": topic.partitions,
            "replication_factor": topic.replicas,
            "configs": topic.configs,
        }
        for topic in missing
    }
    answer = cluster.call(lambda: cluster.admin.create_topics(wanted, raise_errors=False))
    for topic in answer["topics"]:
        if topic["error_code"] not in (0, _TOPIC_EXISTS):
            reason = topic.get("error_message") or for_code(topic["error_code"]).__name__
            raise Fatal(f"topic {topic['name']} cannot be made: {reason}")
    _await_leaders(cluster, list(wanted))


def _await_leaders(cluster: Cluster, names: list[str]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = cluster.call(lambda: cluster.admin.describe_topics(names))
        if all(not t["error_code"] and all(p["leader_id"] >= 0 for p in t["partitions"]) for t in found):
            return
        time.sleep(0.05)
    raise TryAgain(f"topics {', '.join(names)}: no leader for every partition after 30 s")


def wrong_partitions(settings: Settings, description: Mapping[str, Any]) -> str:
    """Says that a topic has another number of partitions than it must; empty for one that has the right number."""
    there = len(description["partitions"])
    if there == settings.partitions:
        return ""
    return f"topic {description['name']} has {there} partitions, --partitions says {settings.partitions}"


def broken_rules(cluster: Cluster, kind: str, description: Mapping[str, Any]) -> list[Broken]:
    """The rules that a topic of this kind breaks, by the values that are in force."""
    replicas = min(len(partition["replica_nodes"]) for partition in description["partitions"])
    return topic_rules.broken(kind, replicas, cluster.configs(str(description["name"])))


def _check(cluster: Cluster, settings: Settings, kind: str, name: str) -> None:
    description = cluster.describe(name)
    if problem := wrong_partitions(settings, description):
        raise Fatal(
            f"{problem}: set it to {len(description['partitions'])} (CIRROSTREAM_PARTITIONS), or use another "
            f"--namespace; {FIXED_COUNT}"
        )
    wrong = [one for one in broken_rules(cluster, kind, description) if one.rule.fatal]
    if wrong:
        raise Fatal(
            f"topic {name} has {', '.join(map(str, wrong))}; `python -m deploy.doctor --only topics` says what to type"
        )
