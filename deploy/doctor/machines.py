"""Several machines: who reads from Kafka where, and what only this machine has."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.doctor.context import Context, known
from deploy.doctor.findings import Finding, fail, ok, warn
from pipeline.errors import CirrostreamError
from pipeline.kafka import Cluster
from pipeline.settings import kafka_settings
from pipeline.topics import lance_group, model_topics

Address = tuple[str, int]


def addresses(context: Context) -> list[Address]:
    """Host and port of every bootstrap server. Raises UsageError when there is no Kafka at all."""
    cluster = Cluster(kafka_settings(), context.settings.data_dir)
    return [(server.host, server.port) for server in cluster.servers]


def is_loopback(host: str) -> bool:
    """True when this is an address of this machine that no other machine can mean."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_local(location: str) -> bool:
    """True when only this machine sees it, as far as an address can tell: a shared file system looks the same."""
    return "://" not in location or location.startswith("file://")


def groups(context: Context) -> dict[str, str]:
    """The consumer group of each stage."""
    names = model_topics(context.settings, known(context.model).tag)
    return {
        "chunk": names.chunk_group,
        "embed": names.embed_group,
        "lance": lance_group(context.settings, context.settings.table),
    }


def members_of(cluster: Cluster, group: str) -> list[str]:
    """The hosts of a group's members, as the brokers see them; empty where this user may not ask."""
    try:
        found: Mapping[str, Any] = cluster.call(lambda: cluster.admin.describe_groups([group]))[group]
    except CirrostreamError:
        return []
    return [str(member["client_host"]).lstrip("/") for member in found["members"]]


def check_paths(context: Context) -> Finding:
    """A table in a folder is one machine's: a sink or a search elsewhere would make, or miss, another."""
    settings = context.settings
    local = [f"the table ({settings.lance_location})"] if is_local(settings.lance_location) else []
    if settings.announce_dir is not None:
        local.append(f"the announcements ({settings.announce_dir})")
    if Path(settings.model).expanduser().is_dir():
        local.append(f"the model ({settings.model})")
    if not local:
        return ok("table and model are where every machine finds them")
    if all(is_loopback(host) for host, _ in addresses(context)):
        return ok(f"Kafka is on this machine, and so is {' and '.join(local)}")
    return _away(context, local)


def _away(context: Context, local: list[str]) -> Finding:
    hosts = _hosts(context)
    sinks = hosts.get("lance", set())
    if is_local(context.settings.lance_location) and sinks and not sinks & _own_addresses(context):
        return fail(
            f"the sink runs on {', '.join(sorted(sinks))}, but here the table is a folder of this machine",
            "export CIRROSTREAM_LANCE_URI=s3://bucket/lance, for all machines alike",
        )
    everybody = sorted(set().union(*hosts.values()))
    seen = f"; replicas run on {', '.join(everybody)}" if len(everybody) > 1 else ""
    return warn(
        f"Kafka is elsewhere, but {' and '.join(local)} only on this machine{seen}",
        "export CIRROSTREAM_LANCE_URI=s3://bucket/lance and name a model of the hub; or sink and search here alone",
    )


def _hosts(context: Context) -> dict[str, set[str]]:
    cluster = context.cluster
    if cluster is None or context.model is None:
        return {}
    return {stage: set(members_of(cluster, group)) for stage, group in groups(context).items()}


def _own_addresses(context: Context) -> set[str]:
    """This machine's, as the brokers see it when nothing in between translates addresses."""
    own = {"127.0.0.1", "::1"}
    for address in addresses(context):
        with socket.create_connection(address, 4.0) as connection:
            own.add(str(connection.getsockname()[0]))
    return own
