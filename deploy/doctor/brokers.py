"""Checks the brokers' configuration where defaults would hurt: forgotten offsets, one replica, small requests."""

from __future__ import annotations

from collections.abc import Mapping

from kafka.admin import ConfigResource

from deploy.doctor.context import Context, known
from deploy.doctor.findings import Check, Finding, fail, ok, skip, warn
from deploy.local.broker import LARGEST_RECORD
from pipeline.settings import MIB
from pipeline.topic_rules import SAFE_REPLICAS

OFFSETS_MINUTES = 43_200
"""30 days: Kafka's default of 7 forgets how far a group was that is scaled to zero between weekly dumps."""

HIDDEN = "this user may not read the brokers' configuration"
ASK = "python -m kafka.admin acls create --principal User:NAME --operation describe_configs --resource-type cluster"
ASK += " --resource-name kafka-cluster"


def configuration(context: Context) -> dict[int, Mapping[str, str]]:
    """Each broker's settings; empty for those that this user may not read, which Kafka says by saying nothing."""
    cluster = known(context.cluster)
    ids = [int(broker["broker_id"]) for broker in cluster.call(cluster.admin.describe_cluster)["brokers"]]
    resources = [ConfigResource("broker", str(broker)) for broker in ids]
    answer = cluster.call(lambda: cluster.admin.describe_configs(resources, config_filter="all"))["broker"]
    found = {broker: answer.get(str(broker), answer.get(broker, {})) for broker in ids}
    return {broker: {name: str(c["value"]) for name, c in values.items()} for broker, values in found.items()}


def _smallest(context: Context, name: str) -> tuple[int, int] | None:
    """Value and broker with the smallest value of a setting, or None when it is hidden."""
    values = [(int(configs[name]), broker) for broker, configs in configuration(context).items() if name in configs]
    return min(values, default=None)


def _offsets(context: Context) -> Finding:
    found = _smallest(context, "offsets.retention.minutes")
    if found is None:
        return skip(HIDDEN, ASK)
    minutes, broker = found
    if minutes < OFFSETS_MINUTES:
        return fail(
            f"broker {broker} forgets a stopped group's offsets after {minutes / 1440:g} days "
            f"(offsets.retention.minutes={minutes}): all would be chunked and embedded again",
            f"set offsets.retention.minutes={OFFSETS_MINUTES} in every broker's server.properties, then restart it",
        )
    return ok(f"offsets of stopped groups are kept for {minutes / 1440:g} days")


def _sizes(context: Context) -> Finding:
    request = _smallest(context, "socket.request.max.bytes")
    fetch = _smallest(context, "replica.fetch.max.bytes")
    if request is None or fetch is None:
        return skip(HIDDEN, ASK)
    if request[0] < LARGEST_RECORD:
        return fail(
            f"broker {request[1]} takes requests up to {_mib(request[0])} (socket.request.max.bytes), ours reach "
            f"{_mib(LARGEST_RECORD)}",
            f"set socket.request.max.bytes={100 * MIB} in every broker's server.properties, then restart it",
        )
    if fetch[0] < LARGEST_RECORD and len(configuration(context)) > 1:
        return warn(
            f"broker {fetch[1]} replicates {_mib(fetch[0])} at once (replica.fetch.max.bytes), less than a record",
            f"set replica.fetch.max.bytes={LARGEST_RECORD} in every broker's server.properties, then restart it",
        )
    return ok(f"requests up to {_mib(request[0])} are taken; each topic sets its own limit for records")


def _auto_create(context: Context) -> Finding:
    values = [configs["auto.create.topics.enable"] for configs in configuration(context).values() if configs]
    if not values:
        return skip(HIDDEN, ASK)
    if "true" in values:
        return warn(
            "auto.create.topics.enable=true: a typing error becomes a topic with the wrong partitions, without a word",
            "set auto.create.topics.enable=false in every broker's server.properties, then restart it",
        )
    return ok("no topic comes into being by accident")


def _replication(context: Context) -> Finding:
    cluster, wanted = known(context.cluster), context.settings.replication
    brokers = len(cluster.call(cluster.admin.describe_cluster)["brokers"])
    if wanted > brokers:
        return fail(
            f"--replication {wanted} needs as many brokers, there are {brokers}", "export CIRROSTREAM_REPLICATION=0"
        )
    if brokers < SAFE_REPLICAS:
        return warn(
            f"{brokers} broker{'s' * (brokers > 1)}: new topics get {wanted or 1} replica{'s' * (wanted > 1)}, "
            "and what is on a lost disk is lost; fine on one machine",
            "for more than a trial: a cluster of 3 brokers, its address in KAFKA_BOOTSTRAP_SERVERS",
        )
    if 0 < wanted < SAFE_REPLICAS:
        return warn(f"--replication {wanted}, though there are {brokers} brokers", "export CIRROSTREAM_REPLICATION=3")
    return ok(f"{brokers} brokers: new topics get {wanted or 3} replicas, 2 of them in sync before a record counts")


def _mib(size: int) -> str:
    return f"{size / MIB:.3g} MiB"


CONNECTED = ("kafka.connection",)
CHECKS = (
    Check("kafka.replication", _replication, "python -m deploy.doctor --only kafka.replication", CONNECTED),
    Check("kafka.offsets", _offsets, "python -m deploy.doctor --only kafka.offsets", CONNECTED),
    Check("kafka.sizes", _sizes, "python -m deploy.doctor --only kafka.sizes", CONNECTED),
    Check("kafka.auto_create", _auto_create, "python -m deploy.doctor --only kafka.auto_create", CONNECTED),
)
