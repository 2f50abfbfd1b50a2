"""A Kafka with passwords and an authorizer: the topics and users of deploy/kubernetes, each with its own rights.

What Strimzi makes of KafkaTopic and KafkaUser is made here with Kafka's own admin calls, from the same manifests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.access import grant, set_password
from deploy.local.broker import Ports, properties
from deploy.local.child import Child
from deploy.local.jars import kafka_program
from deploy.local.kafka import OPTIONS
from deploy.local.ports import HOST, free_port
from deploy.local.running import answers
from deploy.rights import Right
from pipeline.errors import TryAgain, UsageError
from pipeline.kafka import Cluster
from pipeline.settings import Settings
from tests import ROOT
from tests.kustomization import Object, objects_of
from tests.programs import missing
from tests.waiting import wait_until

MANIFESTS = ROOT / "deploy" / "kubernetes" / "base" / "kafka"
PARTITIONS = 2

ADMINISTRATOR = "cirrostream-administrator"
"""May do everything, and logs in with the mechanism PLAIN."""


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
            "KAFKA_SASL_MECHANISM": "PLAIN" if user == ADMINISTRATOR else "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": user,
            "KAFKA_SASL_PASSWORD": self.passwords[user],
            "CIRROSTREAM_DATA_DIR": str(folder),
            "CIRROSTREAM_LANCE_URI": str(folder / "lance"),
            "CIRROSTREAM_PARTITIONS": str(PARTITIONS),
            "CIRROSTREAM_METRICS_PORT": "0",
        }


@contextmanager
def secured_kafka(folder: Path) -> Iterator[SecuredKafka]:
    """A broker with the topics and users of the manifests."""
    try:
        program = kafka_program()
    except (UsageError, TryAgain) as error:
        missing(f"no Kafka to test with: {error}")
    inner, outer, controller = (free_port() for _ in range(3))
    password = f"plain-{uuid.uuid4().hex}"
    configuration = folder / "server.properties"
    configuration.write_text(
        properties(Ports(inner, controller), folder / "logs") + secured(inner, outer, controller, password)
    )
    form = ("format", "-t", "5L6g3nShT-eMCtK--X86sw", "-c", str(configuration))
    subprocess.run(program.command("kafka.tools.StorageTool", *form), check=True, capture_output=True, timeout=60)
    broker = Child(program.command("kafka.Kafka", str(configuration), options=OPTIONS), folder / "broker.log")
    try:
        wait_until(lambda: answers(f"{HOST}:{inner}", timeout_s=0.5), f"Kafka answers: {folder / 'broker.log'}")
        passwords = {ADMINISTRATOR: password, **make_topics_and_users(f"{HOST}:{inner}")}
        yield SecuredKafka(f"{HOST}:{inner}", f"{HOST}:{outer}", passwords)
    finally:
        broker.stop(30)


def secured(inner: int, outer: int, controller: int, password: str) -> str:
    """A second listener with passwords, and an authorizer. Who comes through the first has no name and all rights."""
    settings = {
        "listeners": f"PLAINTEXT://{HOST}:{inner},USERS://{HOST}:{outer},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{inner},USERS://{HOST}:{outer}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,USERS:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listener.name.users.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "listener.name.users.plain.sasl.jaas.config": (
            f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{ADMINISTRATOR}="{password}";'
        ),
        "listener.name.users.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:ANONYMOUS;User:{ADMINISTRATOR}",
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
