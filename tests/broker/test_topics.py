"""Topics: made right, and refused when somebody else made them wrong."""

from __future__ import annotations

import pytest

from pipeline import topic_rules, topics
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
    assert int(configs["delete.retention.ms"]) == 35 * topic_rules.DAY_MS
    assert len(cluster.log(names.pages).ends) == Settings().partitions


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
    ("changed", "complaint"),
    [
        ({"cleanup.policy": "compact,delete"}, r"cleanup\.policy=compact,delete \(needs compact:"),
        ({"max.message.bytes": "1000"}, r"max\.message\.bytes=1000 \(needs at least 8388608:"),
        ({"delete.retention.ms": "86400000"}, r"delete\.retention\.ms=86400000 \(needs at least 3024000000:"),
        ({"min.insync.replicas": "2"}, r"min\.insync\.replicas=2 \(needs at most 1: else no record is taken\)"),
    ],
)
def test_a_topic_configured_otherwise_is_fatal(cluster: Cluster, changed: dict[str, str], complaint: str) -> None:
    make(cluster, topics.corpus_topics(Settings()).pages, topic_rules.configs("pages", 1) | changed)
    with pytest.raises(Fatal, match=complaint):
        topics.ensure_corpus(cluster, Settings())


def test_chunks_with_a_limit_of_size_or_time_are_fatal_and_both_are_named(cluster: Cluster) -> None:
    limits = {"retention.bytes": "1000000", "retention.ms": "604800000"}
    make(cluster, topics.model_topics(Settings(), "m").chunks, topic_rules.configs("chunks", 1) | limits)
    with pytest.raises(Fatal, match=r"chunks\.m has retention\.ms=604800000 .* retention\.bytes=1000000 .*doctor"):
        topics.ensure_model(cluster, Settings(), "m")


def test_what_only_could_be_safer_lets_a_stage_start(cluster: Cluster) -> None:
    configs = topic_rules.configs("pages", 1) | {"unclean.leader.election.enable": "true"}
    make(cluster, topics.corpus_topics(Settings()).pages, configs)
    topics.ensure_corpus(cluster, Settings())


def make(cluster: Cluster, name: str, configs: dict[str, str]) -> None:
    cluster.admin.create_topics({name: {"num_partitions": 4, "replication_factor": 1, "configs": configs}})


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


@pytest.mark.parametrize("protocol", ["SSL", "SASL_PLAINTEXT"])
def test_a_listener_that_wants_another_protocol_is_wrong_use_and_not_a_broker_that_is_away(
    settings_env: SettingsEnv, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    settings_env()
    for name, value in {"SECURITY_PROTOCOL": protocol, "SASL_USERNAME": "a", "SASL_PASSWORD": "b"}.items():
        monkeypatch.setenv(f"KAFKA_{name}", value)
    monkeypatch.setattr("pipeline.kafka.BOOTSTRAP_TIMEOUT_MS", 500)
    with pytest.raises(UsageError, match=f"PLAINTEXT listener, KAFKA_SECURITY_PROTOCOL says {protocol}: set KAFKA_"):
        Cluster.connect(Settings())


def test_no_kafka_at_all_says_what_to_type(settings_env: SettingsEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_env()
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS")
    with pytest.raises(UsageError, match=r"python -m deploy\.local kafka"):
        Cluster.connect(Settings())
