"""Addresses of the replicas: announced in a folder, named with `--targets`, or listed in a Prometheus file_sd file."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from pipeline.announcements import announced
from pipeline.errors import UsageError
from pipeline.status.readings import LONGEST_NAME

MOST_REPLICAS = 256
LARGEST_FILE = 1024 * 1024
EVERY_ADDRESS = "dns+"
RESOLVE_S = 10.0
FIRST_ANSWER_S = 2.0
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?|\[[0-9a-fA-F:.]{2,45}\]")


@dataclass(frozen=True, slots=True)
class Target:
    """A replica to ask; `name` is what the view calls it."""

    name: str
    address: str
    """`host:port`; the host of a target is an IP address once it is resolved. Empty: it does not serve yet."""
    stage: str = ""
    """As announced; empty: it says so itself."""
    gone: bool = False
    """It announced itself on this machine, and its process is no more."""
    note: str = ""
    """Its supervisor's remark on it."""

    @property
    def announced(self) -> bool:
        """True when it takes its announcement back when it ends in order."""
        return bool(self.stage)


@dataclass(frozen=True, slots=True)
class Place:
    """A `host:port` that was named; with `every`, all addresses that the name has are replicas."""

    host: str
    port: int
    every: bool = False


class _Group(msgspec.Struct):
    targets: list[str]


def parse_places(text: str) -> list[Place]:
    """`host:port,dns+name:port,[::1]:port`; raises ValueError for anything else."""
    places = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        host, _, port = part.removeprefix(EVERY_ADDRESS).rpartition(":")
        if not _HOST.fullmatch(host) or not port.isdigit() or not 0 < int(port) < 65_536:
            raise ValueError(f"{part!r} is no host:port, nor dns+name:port")
        places.append(Place(host.strip("[]"), int(port), part.startswith(EVERY_ADDRESS)))
    return places


def places_in(path: Path) -> list[Place]:
    """The targets of a Prometheus file_sd file in JSON. Raises UsageError when it is none."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
        if len(raw) > LARGEST_FILE:
            raise UsageError(f"--targets-file {path}: larger than {LARGEST_FILE} bytes")
        groups = msgspec.json.decode(raw, type=list[_Group])
        return [place for group in groups for target in group.targets for place in parse_places(target)]
    except OSError as error:
        raise UsageError(f"--targets-file {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"--targets-file {path}: no Prometheus file_sd JSON: {error}") from None


class Names:
    """Looks names up in a thread of its own: a name server that is away would hold the view up for half a minute."""

    def __init__(self) -> None:
        self._hosts: set[str] = set()
        self._found: dict[str, list[str]] = {}
        self._more = threading.Event()
        self._asked = threading.Event()

    def follow(self, hosts: Iterable[str]) -> None:
        """Looks these up as well from now on, every `RESOLVE_S`; waits a moment for the first answers."""
        new = {host for host in hosts if not _is_address(host)} - self._hosts
        if not new:
            return
        if not self._hosts:
            threading.Thread(target=self._run, name="names", daemon=True).start()
        self._hosts |= new
        self._asked.clear()
        self._more.set()
        self._asked.wait(FIRST_ANSWER_S)

    def addresses(self, host: str) -> list[str]:
        """The host's addresses when it was last found; none before it ever was."""
        return [host] if _is_address(host) else self._found.get(host, [])

    def _run(self) -> None:
        while True:
            self._more.clear()
            for host in sorted(self._hosts):
                with suppress(OSError, UnicodeError):
                    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
                    self._found[host] = sorted({str(entry[4][0]) for entry in found})
            if not self._more.is_set():
                self._asked.set()
            self._more.wait(RESOLVE_S)


class Targets:
    """All replicas that can be found; `find` is to be called at every look.

    Raises:
        UsageError: the targets' file is none; later, when it is just being replaced, its last good content holds.
    """

    def __init__(self, folder: Path, named: str = "", listed: Path | None = None) -> None:
        self._folder = folder
        self._named = parse_places(named)
        self._listed = listed
        self._in_file = places_in(listed) if listed is not None else []
        self._names = Names()
        self.left_out = 0
        """Replicas beyond `MOST_REPLICAS`, which are not asked."""

    def find(self) -> list[Target]:
        if self._listed is not None:
            with suppress(UsageError):
                self._in_file = places_in(self._listed)
        self._names.follow(place.host for place in (*self._named, *self._in_file))
        found: dict[str, Target] = {}
        # A dead process' port may be its successor's by now.
        for target in (*sorted(self._announced(), key=lambda target: target.gone), *self._resolved()):
            found.setdefault(target.address, target)
        self.left_out = max(0, len(found) - MOST_REPLICAS)
        return list(found.values())[:MOST_REPLICAS]

    def _announced(self) -> Iterator[Target]:
        for process in announced(self._folder):
            with suppress(ValueError):
                [place] = parse_places(process.address)
                # An id means nothing on another machine, or in another container that shares the folder.
                gone = _is_loopback(place.host) and not psutil.pid_exists(process.pid)
                service = "".join(c for c in process.service if c.isprintable())[:LONGEST_NAME]
                yield Target(f"{service}-{process.pid}", process.address, service, gone)

    def _resolved(self) -> Iterator[Target]:
        for place in (*self._named, *self._in_file):
            addresses = self._names.addresses(place.host)
            for address in addresses if place.every else addresses[:1]:
                at = f"[{address}]:{place.port}" if ":" in address else f"{address}:{place.port}"
                yield Target(at if place.every else f"{place.host}:{place.port}", at)


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return False


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
