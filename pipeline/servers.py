"""Addresses of Kafka servers: the one reading of `KAFKA_BOOTSTRAP_SERVERS`, whoever connects.

kafka-python, faust and Kafka's own tools each read such a list in their own way: with or without a scheme, with another
default port, with a blank as part of a name. So it is read here, and everybody is given what `str(Server)` says.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal, get_args

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]

DEFAULT_PORT = 9092

_NAME = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z._-]{0,252}[0-9A-Za-z.])?")
_SERVER = re.compile(r"(?:(?P<scheme>[^:/\[\]]*)://)?(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[^:]*))?")


@dataclass(frozen=True, slots=True)
class Server:
    """An address that a client connects to first."""

    host: str
    """A name, an IPv4 address, or an IPv6 address without its brackets."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_servers(text: str, protocol: str | None = None) -> tuple[Server, ...]:
    """The servers of `host:port,…`. Pure.

    Blanks around an entry and empty entries count for nothing; without a port it is Kafka's, 9092; a listener's name of
    the right `protocol` may stand before the host, as in `server.properties`: `SASL_SSL://host:9093`.

    Raises:
        ValueError: an entry is no address, or there is none; the message names it.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    if not entries:
        raise ValueError("host:port,… is needed")
    return tuple(_server(entry, protocol) for entry in entries)


def _server(entry: str, protocol: str | None) -> Server:
    if re.search(r"[;\s]", entry):
        raise ValueError(f"{entry!r}: several servers are parted by commas: host:9092,host2:9092")
    found = _SERVER.fullmatch(entry)
    if found is None:
        raise ValueError(f"{entry!r} is no host:port; an IPv6 address stands in brackets: [::1]:9092")
    _check_scheme(entry, found["scheme"], protocol)
    return Server(_host(entry, found["host"]), _port(entry, found["port"]))


def _check_scheme(entry: str, scheme: str | None, protocol: str | None) -> None:
    if scheme is None:
        return
    if scheme.upper() not in get_args(SecurityProtocol):
        raise ValueError(f"{entry!r}: {scheme}:// is no listener of Kafka; write host:port alone")
    if protocol is not None and scheme.upper() != protocol:
        raise ValueError(f"{entry!r} says {scheme.upper()}, KAFKA_SECURITY_PROTOCOL says {protocol}")


def _host(entry: str, host: str) -> str:
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host.strip("[]")))
        except ValueError:
            raise ValueError(f"{entry!r}: {host} is no IPv6 address") from None
    if not _NAME.fullmatch(host):
        raise ValueError(f"{entry!r} names no host: host:9092")
    return host


def _port(entry: str, port: str | None) -> int:
    if port is None:
        return DEFAULT_PORT
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65_535:
        raise ValueError(f"{entry!r}: {port!r} is no port, from 1 to 65535")
    return int(port)
