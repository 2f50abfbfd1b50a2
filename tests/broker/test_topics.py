"""Topics: made right, and refused when somebody else made them wrong."""

from __future__ import annotations

import pytest

from pipeline import topics
from pipeline.errors import Fatal, TryAgain, UsageError
from pipeline.kafka import Cluster
from pipeline.settings import Settings
from tests.conftest import SettingsEnv


@pytest.fixture
def cluster(settings_env: SettingsEnv):
    settings_env()
    cluster = Cluster.connect(Settings())
    yield cluster
    cluster.close()


def test_corpus_topics_are_compacted_and_keep_tombstones_for_weeks(cluster: Cluster) -> None:
    names = topics.ensure_corpus(cluster, Settings())
    configs = cluster.configs(names.pages)
    assert configs["cleanup.policy"] == "compact"
    assert int(configs["delete.retention.ms"]) == 35 * topics.DAY_MS
    assert len(cluster.partitions(names.pages)) == Settings().partitions


def test_model_topics_never_expire(cluster: Cluster) -> None:
    names = topics.ensure_model(cluster, Settings(), "tiny-00000000")
    assert cluster.configs(names.chunks)["retention.ms"] == "-1"
    assert cluster.max_message_bytes(names.vectors) > cluster.max_message_bytes(names.chunks)


def test_making_them_twice_changes_nothing(cluster: Cluster) -> None:
    first = topics.topic_ids(cluster, [topics.ensure_corpus(cluster, Settings()).pages])
    second = topics.topic_ids(cluster, [topics.ensure_corpus(cluster, Settings()).pages])
    assert first == second


def test_another_partition_count_is_fatal_and_says_what_to_set(cluster: Cluster, settings_env: SettingsEnv) -> None:
    topics.ensure_corpus(cluster, Settings())
    settings_env(partitions=5)
    with pytest.raises(Fatal, match=r"has 4 partitions.*says 5: set it to 4"):
        topics.ensure_corpus(cluster, Settings())


@pytest.mark.parametrize(
    ("configs", "complaint"),
    [
        ({}, "cleanup.policy=delete, needs compact"),
        ({"cleanup.policy": "compact", "max.message.bytes": "1000"}, "has max.message.bytes=1000"),
    ],
)
def test_a_topic_configured_otherwise_is_fatal(cluster: Cluster, configs: dict[str, str], complaint: str) -> None:
    name = topics.corpus_topics(Settings()).pages
    cluster.admin.create_topics({name: {"num_partitions": 4, "replication_factor": 1, "configs": configs}})
    with pytest.raises(Fatal, match=complaint):
        topics.ensure_corpus(cluster, Settings())


def test_more_replicas_than_brokers_is_fatal(cluster: Cluster, settings_env: SettingsEnv) -> None:
    settings_env(replication=3)
    with pytest.raises(Fatal, match="--replication 3"):
        topics.ensure_corpus(cluster, Settings())


def test_no_broker_says_where_nobody_answered(settings_env: SettingsEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_env()
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setattr("pipeline.kafka.BOOTSTRAP_TIMEOUT_MS", 500)
    with pytest.raises(TryAgain, match=r"no Kafka answers at 127\.0\.0\.1:1"):
        Cluster.connect(Settings())


def test_no_kafka_at_all_says_what_to_type(settings_env: SettingsEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_env()
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS")
    with pytest.raises(UsageError, match=r"python -m deploy\.local kafka"):
        Cluster.connect(Settings())
