"""Kafka: its listeners speak what the settings say, we may log in, every broker is reached and new enough."""

from __future__ import annotations

import socket
import ssl

from deploy.doctor import brokers
from deploy.doctor.context import Context, known
from deploy.doctor.findings import Check, Finding, fail, ok, warn
from deploy.doctor.login import check_settings
from deploy.doctor.machines import Address, addresses
from pipeline.errors import TryAgain
from pipeline.kafka import Cluster
from pipeline.listener import PROTOCOL, TIMEOUT_S, Listener, NotKafka, contradiction, distrust, look_at
from pipeline.settings import KafkaSettings, kafka_settings

OLDEST = (2, 8)
"""The first whose topics have ids, which the order of pages rests on."""


def _listener(context: Context) -> Finding:
    kafka, answers, silent = kafka_settings(), [], []
    certificate = (str(kafka.ssl_certfile), str(kafka.ssl_keyfile)) if kafka.ssl_certfile else None
    for host, port in addresses(context):
        try:
            answers.append(((host, port), look_at(host, port, certificate)))
        except NotKafka as error:
            return fail(str(error), "export KAFKA_BOOTSTRAP_SERVERS=host:port of a Kafka listener")
        except OSError as error:
            silent.append(f"{host}:{port} ({error.strerror or error})")
    for address, listener in answers:
        finding = _mismatch(kafka, address, listener)
        if finding is not None:
            return finding
    if not answers:
        return fail(f"nobody answers at {', '.join(silent)}", _unreachable(context))
    if silent:
        return warn(
            f"no answer from {', '.join(silent)}", "start that broker, or take it out of KAFKA_BOOTSTRAP_SERVERS"
        )
    return ok(f"every bootstrap server answers, and speaks {answers[0][1].protocol}")


def _unreachable(context: Context) -> str:
    if kafka_settings().bootstrap_servers:
        return "start the broker, or correct KAFKA_BOOTSTRAP_SERVERS; a firewall? try: nc -vz HOST PORT"
    return f"python -m deploy.local kafka --data-dir {context.settings.data_dir}"


def _mismatch(kafka: KafkaSettings, address: Address, listener: Listener) -> Finding | None:
    place = f"{address[0]}:{address[1]}"
    if listener.wants_certificate:
        return fail(f"{place} wants a client certificate", "export KAFKA_SSL_CERTFILE=… KAFKA_SSL_KEYFILE=…")
    found = contradiction(listener, kafka.security_protocol, kafka.sasl_mechanism)
    if found is not None:
        elsewhere = ", or name another port in KAFKA_BOOTSTRAP_SERVERS" if found.setting == PROTOCOL else ""
        return fail(f"{place} {found.said}", f"export {found.setting}={found.right}{elsewhere}")
    doubt = distrust(*address, ssl.create_default_context(cafile=kafka.ssl_cafile)) if listener.tls else ""
    if doubt:
        return fail(
            f"the certificate of {place} is not trusted: {doubt}",
            "export KAFKA_SSL_CAFILE=/path/to/ca.pem, and use the host name that the certificate is for",
        )
    return None


def _connection(context: Context) -> Finding:
    try:
        context.cluster = Cluster.connect(context.settings)
    except TryAgain as error:
        kafka = kafka_settings()
        if not kafka.security_protocol.startswith("SASL"):
            raise
        return fail(
            f"the listener answers, but lets nobody in as {kafka.sasl_username}: {error}",
            "correct KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD; wrong ones end in a time-out like this",
        )
    return ok(f"connected to {context.cluster.bootstrap}")


def _brokers(context: Context) -> Finding:
    cluster = known(context.cluster)
    brokers = cluster.call(cluster.admin.describe_cluster)["brokers"]
    away = [found for broker in brokers if (found := _no_answer(broker["host"], broker["port"]))]
    if away:
        return fail(
            f"the brokers call themselves {', '.join(away)}, where nobody answers from here",
            "set advertised.listeners of the brokers to addresses that this machine reaches, then restart them",
        )
    return ok(f"{len(brokers)} broker{'s' * (len(brokers) != 1)}, each reached at the address it advertises")


def _no_answer(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), TIMEOUT_S).close()
    except OSError:
        return f"{host}:{port}"
    return ""


def _version(context: Context) -> Finding:
    cluster = known(context.cluster)
    brokers = cluster.call(cluster.admin.describe_cluster)["brokers"]
    versions = {tuple(cluster.admin.get_broker_version_data(b["broker_id"]).broker_version) for b in brokers}
    shown = ", ".join(".".join(map(str, version)) for version in sorted(versions))
    if min(versions) < OLDEST:
        return fail(f"Kafka {shown}: topics have no ids before 2.8", "upgrade the brokers to Kafka 3.9 or newer")
    return ok(f"Kafka {shown}" + (" or newer" if max(versions) >= (4, 3) else ""))


CHECKS = (
    Check(
        "kafka.settings",
        check_settings,
        "set KAFKA_BOOTSTRAP_SERVERS=host:port; docs/configuration.md lists the others",
    ),
    Check(
        "kafka.listener",
        _listener,
        "correct KAFKA_BOOTSTRAP_SERVERS, or start the broker",
        ("kafka.settings",),
        limit_s=30,
    ),
    Check(
        "kafka.connection",
        _connection,
        "see the brokers' logs; CIRROSTREAM_LOG_LEVEL=DEBUG python -m deploy.doctor --only kafka shows the client's",
        ("kafka.listener",),
        limit_s=30,
    ),
    Check("kafka.brokers", _brokers, "python -m deploy.doctor --only kafka", ("kafka.connection",), limit_s=30),
    Check("kafka.version", _version, "python -m deploy.doctor --only kafka", ("kafka.connection",)),
    *brokers.CHECKS,
)
