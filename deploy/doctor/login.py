"""The settings of the cluster: complete, and none of them without effect."""

from __future__ import annotations

from pydantic import ValidationError

from deploy.doctor.context import Context
from deploy.doctor.findings import Finding, fail, ok, skip, warn
from deploy.doctor.machines import is_loopback
from deploy.doctor.packages import local_kafka_lacks
from deploy.local.running import running_kafka
from pipeline.servers import parse_servers
from pipeline.settings import KafkaSettings, refusals

EXAMPLES = {
    "bootstrap_servers": "host:9092,host2:9092",
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-512",
    "ssl_cafile": "/path/to/ca.pem",
    "ssl_certfile": "/path/to/client.pem",
    "ssl_keyfile": "/path/to/client.key",
}


def check_settings(context: Context) -> Finding:
    try:
        kafka = KafkaSettings()
    except ValidationError as error:
        return _refused(error)
    if not kafka.bootstrap_servers:
        return _without_a_cluster(context)
    return _credentials(kafka)


def _credentials(kafka: KafkaSettings) -> Finding:
    protocol, password = kafka.security_protocol, kafka.sasl_password.get_secret_value()
    if not protocol.startswith("SASL") and (kafka.sasl_username or password):
        return warn(
            f"a user or password is set, but {protocol} does not use it",
            f"export KAFKA_SECURITY_PROTOCOL=SASL_{protocol}",
        )
    if "SSL" not in protocol and (kafka.ssl_cafile or kafka.ssl_certfile):
        return warn(
            f"certificates are set, but {protocol} does not use them",
            f"export KAFKA_SECURITY_PROTOCOL={protocol.replace('PLAINTEXT', 'SSL')}",
        )
    return _in_the_clear(kafka)


def _in_the_clear(kafka: KafkaSettings) -> Finding:
    servers = parse_servers(kafka.bootstrap_servers)
    away = [server for server in servers if not is_loopback(server.host)]
    if away and kafka.security_protocol == "SASL_PLAINTEXT" and kafka.sasl_mechanism == "PLAIN":
        return warn(f"the password goes to {away[0]} unencrypted", "export KAFKA_SECURITY_PROTOCOL=SASL_SSL")
    return ok(f"{kafka.bootstrap_servers}, {kafka.security_protocol}")


def _without_a_cluster(context: Context) -> Finding:
    folder = context.settings.data_dir
    address = running_kafka(folder)
    if address is not None:
        return ok(f"the local Kafka on {folder}, {address}")
    found = f"KAFKA_BOOTSTRAP_SERVERS is not set and no Kafka runs on {folder}"
    if any(local_kafka_lacks()):
        return fail(found, "export KAFKA_BOOTSTRAP_SERVERS=host:port, or: pip install 'cirrostream[demo]'")
    return skip(f"{found}: `deploy.local run` starts one", f"python -m deploy.local kafka --data-dir {folder}")


def _refused(error: ValidationError) -> Finding:
    key, reason = refusals(KafkaSettings, error)[0]
    name = f"KAFKA_{key}".upper()
    return fail(f"{name}: {reason}", f"export {name}={EXAMPLES.get(key, '…')}")
