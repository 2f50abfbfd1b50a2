"""What the stages would create on a cluster of three brokers: asked of their own code, so it cannot drift from it.

On Kubernetes the Topic Operator owns the topics, and the stages have no right to make any. So the operator must be told
the very names, partitions and configurations that `pipeline.topics` checks when a stage starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka.admin import ConfigResource

from pipeline.kafka import Cluster
from pipeline.settings import KafkaSettings, Settings
from pipeline.topics import ensure_corpus, ensure_model

BROKERS = 3
UNKNOWN_TOPIC = 3


@dataclass(frozen=True, slots=True)
class PlannedTopic:
    """A topic as a stage would make it."""

    name: str
    partitions: int
    replicas: int
    configs: Mapping[str, str]


@dataclass(slots=True)
class PlannedAdmin:
    """Stands in for Kafka's admin client: an empty cluster that takes note of what it is asked to create."""

    created: dict[str, PlannedTopic] = field(default_factory=dict)

    def describe_cluster(self) -> dict[str, Any]:
        return {"brokers": list(range(BROKERS))}

    def describe_topics(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return [self._described(name) for name in names]

    def describe_configs(self, resources: Sequence[ConfigResource], config_filter: str) -> dict[str, Any]:
        configs = {resource.name: self.created[resource.name].configs for resource in resources}
        return {"topic": {name: {key: {"value": it} for key, it in found.items()} for name, found in configs.items()}}

    def create_topics(self, wanted: Mapping[str, Any], raise_errors: bool) -> dict[str, Any]:
        for name, topic in wanted.items():
            self.created[name] = PlannedTopic(
                name, topic["num_partitions"], topic["replication_factor"], topic["configs"]
            )
        return {"topics": [{"name": name, "error_code": 0} for name in wanted]}

    def _described(self, name: str) -> dict[str, Any]:
        if name not in self.created:
            return {"error_code": UNKNOWN_TOPIC}
        leaders = [{"partition_index": p, "leader_id": 0} for p in range(self.created[name].partitions)]
        return {"error_code": 0, "partitions": leaders}


class PlannedCluster(Cluster):
    """A cluster that is nowhere."""

    def __init__(self, admin: PlannedAdmin) -> None:
        super().__init__(KafkaSettings(bootstrap_servers="planned:9092"), Path())
        self._admin = admin


def planned_topics(settings: Settings, tag: str) -> list[PlannedTopic]:
    """The corpus' topics and those of the model with this tag."""
    admin = PlannedAdmin()
    cluster = PlannedCluster(admin)
    ensure_corpus(cluster, settings)
    ensure_model(cluster, settings, tag)
    return list(admin.created.values())
