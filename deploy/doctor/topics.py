"""Our topics: as pipeline.topics would make them, or to be made; and whether this user may do what the stages do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka.errors import for_code

from deploy.doctor import readers
from deploy.doctor.context import Context, known
from deploy.doctor.findings import Check, Finding, fail, ok, warn
from deploy.doctor.machines import groups
from pipeline.errors import Forbidden
from pipeline.kafka import Cluster
from pipeline.topic_rules import SAFE_REPLICAS, Broken
from pipeline.topics import (
    CORPUS,
    FIXED_COUNT,
    OF_A_MODEL,
    broken_rules,
    corpus_topics,
    model_topics,
    wanted_topics,
    wrong_partitions,
)

UNKNOWN_TOPIC, NOT_AUTHORIZED = 3, 29
NEEDED = ("READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS")
TRIMMED = ("chunks", "vectors")
"""The sink deletes what is done with from these (DeleteRecords), which Kafka calls DELETE."""


def topic_name(context: Context, kind: str) -> str:
    """The name of the topic of this kind, with namespace and model."""
    if kind in CORPUS:
        return str(getattr(corpus_topics(context.settings), kind))
    return str(getattr(model_topics(context.settings, known(context.model).tag), kind))


def admin(cluster: Cluster) -> str:
    """The beginning of a command line of Kafka's administration, as kafka-python brings it."""
    kafka, first = cluster.kafka, cluster.bootstrap.partition(",")[0]
    login = (
        f' -M {kafka.sasl_mechanism} -U "$KAFKA_SASL_USERNAME" -P "$KAFKA_SASL_PASSWORD"'
        if kafka.security_protocol.startswith("SASL")
        else ""
    )
    security = "" if kafka.security_protocol == "PLAINTEXT" else f" -S {kafka.security_protocol}{login}"
    trusted = f" -C ssl_cafile={kafka.ssl_cafile}" if kafka.ssl_cafile else ""
    return f"python -m kafka.admin -b {first}{security}{trusted}"


def _look(context: Context, kind: str) -> Finding:
    cluster, name = known(context.cluster), topic_name(context, kind)
    found = cluster.call(lambda: cluster.admin.describe_topics([name]))[0]
    code = found["error_code"]
    if code == NOT_AUTHORIZED:
        return _forbidden(cluster, name, ("all rights",))
    if code == UNKNOWN_TOPIC:
        return _to_be_made(context, cluster, name, kind)
    if code:
        return fail(f"{name}: {for_code(code).__name__}", "see the brokers' logs")
    broken = broken_rules(cluster, kind, found)
    return (
        _partitions(context, found)
        or _rights(cluster, kind, found)
        or _headless(name, found)
        or _configured(cluster, name, [one for one in broken if one.rule.fatal])
        or _out_of_sync(cluster, name, found)
        or _few_replicas(context, cluster, name, found)
        or _could_be_safer(cluster, name, broken)
        or ok(f"{name}: {len(found['partitions'])} partitions, configured as it must be")
    )


def _to_be_made(context: Context, cluster: Cluster, name: str, kind: str) -> Finding:
    """Has the brokers try it without doing it: rights, replicas and the cluster's own rules show at once."""
    brokers = len(cluster.call(cluster.admin.describe_cluster)["brokers"])
    (topic,) = wanted_topics(context.settings, {kind: name}, brokers)
    partitions, replicas = topic.partitions, topic.replicas
    wanted = {name: {"num_partitions": partitions, "replication_factor": replicas, "configs": topic.configs}}
    answer = cluster.call(lambda: cluster.admin.create_topics(wanted, validate_only=True, raise_errors=False))
    tried = answer["topics"][0]
    if tried["error_code"] == NOT_AUTHORIZED:
        return _forbidden(cluster, name, ("CREATE",))
    if tried["error_code"]:
        reason = tried.get("error_message") or for_code(tried["error_code"]).__name__
        return fail(f"{name}: not there, and the cluster refuses to make it: {reason}", "correct the setting it names")
    return ok(f"{name}: will be made with {partitions} partitions and {replicas} replica{'s' * (replicas > 1)}")


def _partitions(context: Context, found: Mapping[str, Any]) -> Finding | None:
    problem = wrong_partitions(context.settings, found)
    if not problem:
        return None
    there = len(found["partitions"])
    return fail(
        f"{problem}; {FIXED_COUNT}",
        f"export CIRROSTREAM_PARTITIONS={there}, or another pipeline: export CIRROSTREAM_NAMESPACE=second",
    )


def _headless(name: str, found: Mapping[str, Any]) -> Finding | None:
    headless = [p["partition_index"] for p in found["partitions"] if p["leader_id"] < 0]
    if not headless:
        return None
    return fail(f"{name}: partitions {_few(headless)} have no leader", "start the brokers that hold them")


def _out_of_sync(cluster: Cluster, name: str, found: Mapping[str, Any]) -> Finding | None:
    """Partitions that take no records now."""
    needed = int(cluster.configs(name).get("min.insync.replicas", 1))
    short = [p["partition_index"] for p in found["partitions"] if len(p["isr_nodes"]) < needed]
    if not short:
        return None
    return fail(
        f"{name}: fewer than min.insync.replicas={needed} in sync in partitions {_few(short)}: no record is taken",
        "start the brokers that are down; their logs say why",
    )


def _few_replicas(context: Context, cluster: Cluster, name: str, found: Mapping[str, Any]) -> Finding | None:
    brokers = len(cluster.call(cluster.admin.describe_cluster)["brokers"])
    replicas = min(len(p["replica_nodes"]) for p in found["partitions"])
    wanted = context.settings.replication or SAFE_REPLICAS
    if brokers < SAFE_REPLICAS or replicas >= wanted:
        return None
    return warn(
        f"{name} has {replicas} replica{'s' * (replicas > 1)} on {brokers} brokers: a lost disk loses records",
        f"kafka-reassign-partitions.sh, with a plan of {wanted} replicas; then "
        + _alter(cluster, name, {"min.insync.replicas": "2"}),
    )


def _configured(cluster: Cluster, name: str, broken: list[Broken]) -> Finding | None:
    if not broken:
        return None
    return fail(f"{name} has {', '.join(map(str, broken))}", _mended(cluster, name, broken))


def _could_be_safer(cluster: Cluster, name: str, broken: list[Broken]) -> Finding | None:
    if not broken:
        return None
    return warn(f"{name} has {', '.join(map(str, broken))}", _mended(cluster, name, broken))


def _mended(cluster: Cluster, name: str, broken: list[Broken]) -> str:
    return _alter(cluster, name, {one.rule.key: one.rule.value for one in broken})


def _rights(cluster: Cluster, kind: str, found: Mapping[str, Any]) -> Finding | None:
    granted = found.get("authorized_operations")
    if granted is None:  # an old broker does not say
        return None
    needed = (*NEEDED, "DELETE") if kind in TRIMMED else NEEDED
    missing = tuple(operation for operation in needed if operation not in granted)
    return _forbidden(cluster, str(found["name"]), missing) if missing else None


def _forbidden(cluster: Cluster, name: str, operations: tuple[str, ...], kind: str = "topic") -> Finding:
    user = cluster.kafka.sasl_username or "NAME"
    return fail(
        f"{name}: not allowed to this user: {', '.join(operations)}",
        f"as the cluster's administrator: {_address(cluster)} acls create --principal User:{user} --operation all "
        f"--resource-type {kind} --resource-name {name}",
    )


def _groups(context: Context) -> Finding:
    cluster = known(context.cluster)
    for name in groups(context).values():
        try:
            cluster.call(lambda name=name: cluster.admin.describe_groups([name]))  # type: ignore[misc]
        except Forbidden:
            return _forbidden(cluster, name, ("READ",), "group")
    return ok(f"may read as {', '.join(groups(context).values())}")


def _alter(cluster: Cluster, name: str, configs: Mapping[str, str]) -> str:
    changes = " ".join(f"-c {key}={value}" for key, value in configs.items())
    return f"{admin(cluster)} configs alter -r topic -n {name} {changes}"


def _address(cluster: Cluster) -> str:
    return f"python -m kafka.admin -b {cluster.bootstrap.partition(',')[0]}"


def _few(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (", …" if len(numbers) > 5 else "")


def _check(kind: str) -> Check:
    needs = ("kafka.connection", "model.files") if kind in OF_A_MODEL else ("kafka.connection",)
    return Check(
        f"topics.{kind}", lambda context: _look(context, kind), "python -m deploy.doctor --only kafka,topics", needs
    )


CHECKS = (
    *(_check(kind) for kind in (*CORPUS, *OF_A_MODEL)),
    Check("topics.groups", _groups, "python -m deploy.doctor --only kafka,topics", ("kafka.connection", "model.files")),
    *readers.CHECKS,
)
