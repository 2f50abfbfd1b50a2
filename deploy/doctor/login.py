"""The settings of the cluster: complete, and none of them without effect."""

from __future__ import annotations

from pydantic import ValidationError

from deploy.doctor.findings import Finding, fail, ok, skip, warn
from deploy.doctor.machines import is_loopback
from deploy.doctor.packages import local_kafka_lacks
from deploy.doctor.patient import Patient
from deploy.local.running import running_kafka
from pipeline.settings import KafkaSettings


def check_settings(patient: Patient) -> Finding:
    try:
        kafka = KafkaSettings()
    except ValidationError as error:
        return _refused(error)
    if not kafka.bootstrap_servers:
        return _without_a_cluster(patient)
    for server in kafka.bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdigit():
            return fail(f"{server!r} is no host:port", "export KAFKA_BOOTSTRAP_SERVERS=host:9092,host2:9092")
    for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
        path = getattr(kafka, name)
        if path is not None and not path.is_file():
            return fail(f"KAFKA_{name.upper()}: no file {path}", f"export KAFKA_{name.upper()}=/path/to/file.pem")
    return _credentials(kafka)


def _credentials(kafka: KafkaSettings) -> Finding:
    protocol, password = kafka.security_protocol, kafka.sasl_password.get_secret_value()
    if protocol.startswith("SASL"):
        if not kafka.sasl_username or not password:
            missing = "KAFKA_SASL_PASSWORD" if kafka.sasl_username else "KAFKA_SASL_USERNAME"
            return fail(f"{protocol} needs a user and a password; {missing} is not set", f"export {missing}=…")
    elif kafka.sasl_username or password:
        return warn(
            f"a user or password is set, but {protocol} does not use it",
            f"export KAFKA_SECURITY_PROTOCOL=SASL_{protocol}",
        )
    if "SSL" not in protocol and (kafka.ssl_cafile or kafka.ssl_certfile):
        return warn(
            f"certificates are set, but {protocol} does not use them",
            f"export KAFKA_SECURITY_PROTOCOL={protocol.replace('PLAINTEXT', 'SSL')}",
        )
    if (kafka.ssl_certfile is None) != (kafka.ssl_keyfile is None):
        return fail(
            "a client certificate and its key need each other",
            "export KAFKA_SSL_CERTFILE=… KAFKA_SSL_KEYFILE=…",
        )
    return _in_the_clear(kafka)


def _in_the_clear(kafka: KafkaSettings) -> Finding:
    servers = kafka.bootstrap_servers
    away = [server for server in servers.split(",") if not is_loopback(server.strip().rpartition(":")[0].strip("[]"))]
    if away and kafka.security_protocol == "SASL_PLAINTEXT" and kafka.sasl_mechanism == "PLAIN":
        return warn(f"the password goes to {away[0]} unencrypted", "export KAFKA_SECURITY_PROTOCOL=SASL_SSL")
    return ok(f"{servers}, {kafka.security_protocol}")


def _without_a_cluster(patient: Patient) -> Finding:
    folder = patient.settings.data_dir
    address = running_kafka(folder)
    if address is not None:
        return ok(f"the local Kafka on {folder}, {address}")
    found = f"KAFKA_BOOTSTRAP_SERVERS is not set and no Kafka runs on {folder}"
    if any(local_kafka_lacks()):
        return fail(found, "export KAFKA_BOOTSTRAP_SERVERS=host:port, or: pip install 'cirrostream[demo]'")
    return skip(f"{found}: `deploy.local run` starts one", f"python -m deploy.local kafka --data-dir {folder}")


def _refused(error: ValidationError) -> Finding:
    problem = error.errors()[0]
    name = f"KAFKA_{problem['loc'][0]}".upper()
    return fail(f"{name}={problem['input']}: {problem['msg']}", f"export {name}=…")
