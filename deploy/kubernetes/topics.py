"""KafkaTopics as YAML, and the names that the autoscaler needs: both have the model's tag in them.

The tag is a fingerprint of the model's files, so it is computed where they are: run this in the image that the stages
run in, and another version of the model cannot slip in between.
"""

from __future__ import annotations

from pipeline.settings import ModelSettings, Settings
from pipeline.topics import WantedTopic, corpus_names, corpus_topics, model_names, model_topics, wanted_topics

BROKERS = 3

CLUSTER = "cirrostream"
"""Name of the Kafka resource, which Strimzi's label ties topics and users to."""

TOPIC = """\
---
apiVersion: kafka.strimzi.io/v1
kind: KafkaTopic
metadata:
  name: {resource}
  labels:
    strimzi.io/cluster: {cluster}
spec:
  topicName: {name}
  partitions: {partitions}
  replicas: {replicas}
  config:
{config}
"""

NAMES = """\
---
# Not sent to the cluster: the kustomization copies these names into the ScaledObjects.
apiVersion: v1
kind: ConfigMap
metadata:
  name: cirrostream-names
  annotations:
    config.kubernetes.io/local-config: "true"
data:
  pages: "{pages}"
  chunks: "{chunks}"
  chunk-group: "{chunk_group}"
  embed-group: "{embed_group}"
"""


def topics_yaml(settings: ModelSettings, tag: str) -> str:
    """A KafkaTopic for each topic of the pipeline."""
    return "".join(map(_topic, planned_topics(settings, tag)))


def planned_topics(settings: Settings, tag: str) -> list[WantedTopic]:
    """The corpus' topics and those of the model with this tag.

    The Topic Operator owns the topics, and the stages have no right to make any: so it is told the very names,
    partitions and configurations that `pipeline.topics` checks when a stage starts.
    """
    return wanted_topics(settings, {**corpus_names(settings), **model_names(settings, tag)}, BROKERS)


def names_yaml(settings: ModelSettings, tag: str) -> str:
    """Topics and groups that the ScaledObjects watch."""
    model = model_topics(settings, tag)
    return NAMES.format(
        pages=corpus_topics(settings).pages,
        chunks=model.chunks,
        chunk_group=model.chunk_group,
        embed_group=model.embed_group,
        partitions=settings.partitions,
    )


def _topic(topic: WantedTopic) -> str:
    config = "\n".join(f'    {key}: "{value}"' for key, value in sorted(topic.configs.items()))
    return TOPIC.format(
        resource=resource_name(topic.name),
        cluster=CLUSTER,
        name=topic.name,
        partitions=topic.partitions,
        replicas=topic.replicas,
        config=config,
    )


def resource_name(topic: str) -> str:
    """A topic's name as Kubernetes allows it: `dead_letters` is a topic's name, but not a resource's."""
    return topic.lower().replace("_", "-")
