"""One reading of the cluster's settings: every client is given the same addresses, or nobody starts."""

from __future__ import annotations

import importlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from faust.transport.drivers.aiokafka import server_list
from typer.testing import CliRunner

from consumers.chunk_app import new_app
from deploy.doctor.context import Context
from deploy.doctor.machines import addresses
from deploy.doctor.settings import DoctorSettings
from pipeline.errors import UsageError
from pipeline.kafka import Cluster, bootstrap_file
from pipeline.metrics import Metrics
from pipeline.servers import Server, parse_servers
from pipeline.settings import kafka_settings

GOOD = [
    ("kafka:9092", [Server("kafka", 9092)]),
    (" k1:9092 , k2:9093,", [Server("k1", 9092), Server("k2", 9093)]),
    ("kafka", [Server("kafka", 9092)]),
    ("PLAINTEXT://10.0.0.1:19092", [Server("10.0.0.1", 19092)]),
    ("plaintext://my_kafka.internal:1,k2", [Server("my_kafka.internal", 1), Server("k2", 9092)]),
    ("[::1]:9092", [Server("::1", 9092)]),
    ("[2001:db8::7]", [Server("2001:db8::7", 9092)]),
]
BAD = [
    ("k1:9092;k2:9092", "parted by commas"),
    ("k1:9092 k2:9092", "parted by commas"),
    ("k1:9092\nk2:9092", "parted by commas"),
    ("::1:9092", "in brackets"),
    ("[kafka]:9092", "no IPv6 address"),
    ("k1:", "no port"),
    ("k1:0", "no port"),
    ("k1:65536", "no port"),
    ("k1:9o92", "no port"),
    ("k1:９０９２", "no port"),
    (":9092", "names no host"),
    ("user@k1:9092", "names no host"),
    ("http://k1:9092", "no listener of Kafka"),
    ("kafka://k1:9092", "no listener of Kafka"),
    ("://k1:9092", "no listener of Kafka"),
    ("SSL://k1:9093", "KAFKA_SECURITY_PROTOCOL says PLAINTEXT"),
    (",", "is needed"),
]


@pytest.mark.parametrize(("text", "servers"), GOOD)
def test_an_address_means_the_same_to_every_client(
    text: str, servers: list[Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", text)
    cluster = Cluster(kafka_settings(), tmp_path)
    written = [str(server) for server in servers]
    assert list(cluster.servers) == servers
    assert cluster.client_config()["bootstrap_servers"] == written
    assert cluster.bootstrap == ",".join(written)
    app = new_app(cluster, "chunk.m", 1, 10, Metrics("chunk"))
    assert server_list(app.conf.broker, 1) == written
    assert addresses(Context(DoctorSettings())) == [(server.host, server.port) for server in servers]


@pytest.mark.parametrize(("text", "complaint"), BAD)
def test_what_is_no_address_is_refused_before_anybody_connects(
    text: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", text)
    with pytest.raises(UsageError, match=f"KAFKA_BOOTSTRAP_SERVERS: .*{complaint}"):
        kafka_settings()


@pytest.mark.parametrize("text", ["", "   "])
def test_nothing_but_blanks_is_the_local_kafka(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", text)
    bootstrap_file(tmp_path).parent.mkdir()
    bootstrap_file(tmp_path).write_text("127.0.0.1:39092\n")
    assert Cluster(kafka_settings(), tmp_path).servers == (Server("127.0.0.1", 39092),)
    bootstrap_file(tmp_path).write_text("half a l\0ine")
    with pytest.raises(UsageError, match="delete the file"):
        Cluster(kafka_settings(), tmp_path)


def test_a_name_of_the_right_protocol_may_stand_before_the_host() -> None:
    assert parse_servers("SASL_SSL://k1:9093", "SASL_SSL") == (Server("k1", 9093),)


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"SECURITY_PROTOCOL": "TLS"}, "KAFKA_SECURITY_PROTOCOL: Input should be 'PLAINTEXT'"),
        ({"SASL_MECHANISM": "SCRAM"}, "KAFKA_SASL_MECHANISM: Input should be 'PLAIN'"),
        ({"SECURITY_PROTOCOL": "SASL_SSL"}, "KAFKA_SASL_USERNAME: is not set, and SASL_SSL needs"),
        ({"SSL_CAFILE": "/nowhere.pem"}, "KAFKA_SSL_CAFILE: no file /nowhere.pem"),
        ({"SSL_CERTFILE": __file__}, "KAFKA_SSL_KEYFILE is not set"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_a_line(
    environment: dict[str, str], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"KAFKA_{name}", value)
    with pytest.raises(UsageError) as caught:
        kafka_settings()
    assert complaint in str(caught.value)


def test_case_and_blanks_do_not_matter_and_an_empty_file_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"SECURITY_PROTOCOL": " sasl_ssl", "SASL_MECHANISM": "scram-sha-256", "SASL_USERNAME": "a"}
    for name, value in {**wanted, "SASL_PASSWORD": "b", "SSL_CAFILE": ""}.items():
        monkeypatch.setenv(f"KAFKA_{name}", value)
    kafka = kafka_settings()
    assert (kafka.security_protocol, kafka.sasl_mechanism) == ("SASL_SSL", "SCRAM-SHA-256")
    assert kafka.ssl_cafile is None


def test_a_file_that_is_no_certificate_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "k1:9093")
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("KAFKA_SSL_CAFILE", __file__)
    with pytest.raises(UsageError, match="KAFKA_SSL_CAFILE"):
        Cluster(kafka_settings(), tmp_path).client_config()


@pytest.fixture
def _own_signals() -> Iterator[None]:
    """A command sets handlers of its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_own_signals")
@pytest.mark.parametrize(
    "command",
    [
        "consumers.chunk",
        "consumers.embed",
        "deploy.access",
        "pipeline.dead_letters list",
        "pipeline.lag",
        "pipeline.replay",
        "pipeline.status",
        "producers.cirrus dump.json",
        "sinks.lance",
        "sinks.verify",
    ],
)
def test_every_command_ends_with_2_and_a_line(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dump.json").write_text("")
    Path("password").write_text("0123456789abcdef")
    monkeypatch.setenv("CIRROSTREAM_METRICS_PORT", "0")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "k1:9092;k2:9092")
    module, *arguments = command.split()
    result = CliRunner().invoke(app_of(module), arguments)
    assert result.exit_code == 2, result.output
    assert "KAFKA_BOOTSTRAP_SERVERS" in result.output + (result.stderr or "")
    assert "bug" not in result.output


def app_of(name: str) -> typer.Typer:
    try:
        module = importlib.import_module(f"{name}.__main__")
    except ModuleNotFoundError:
        module = importlib.import_module(name)
    found: typer.Typer = module.app
    return found
