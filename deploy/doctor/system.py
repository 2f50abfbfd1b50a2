"""This machine: open files, the port for metrics, another run on the folder, its clock."""

from __future__ import annotations

import resource
import socket

from deploy.doctor.clock import check_clock
from deploy.doctor.context import Context
from deploy.doctor.findings import Check, Finding, fail, ok, skip, warn
from deploy.doctor.machines import check_paths
from deploy.local.claim import owner_of
from deploy.local.tidy import run_claim_path
from pipeline.service import PORTS_TRIED

OPEN_FILES = 4_096
"""A table of a thousand fragments, read with all its indexes, and every connection to Kafka."""


def _files(_: Context) -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        return ok("no limit on open files" if soft == resource.RLIM_INFINITY else f"{soft:,} files may be open")
    higher = hard == resource.RLIM_INFINITY or hard >= OPEN_FILES
    return fail(
        f"only {soft:,} files may be open, a large table needs {OPEN_FILES:,}",
        "ulimit -n 65536" if higher and not 0 <= hard < 65_536 else _beyond(hard),
    )


def _beyond(hard: int) -> str:
    return f"ulimit -n {hard}" if hard >= OPEN_FILES else "raise nofile in /etc/security/limits.conf, then log in again"


def _port(context: Context) -> Finding:
    host, port = context.settings.metrics_host, context.settings.metrics_port
    if port == 0:
        return ok("metrics are served on any free port")
    free = next((p for p in range(port, min(port + PORTS_TRIED, 65_536)) if _is_free(host, p)), None)
    if free is None:
        return fail(f"{host}:{port} and the ports after it are taken or not ours", "export CIRROSTREAM_METRICS_PORT=0")
    if free != port:
        return warn(
            f"{host}:{port} is taken: metrics would be served on {free}, where a fixed target does not look",
            f"export CIRROSTREAM_METRICS_PORT={free}, or end what has it: ss -ltnp 'sport = :{port}'",
        )
    return ok(f"{host}:{port} is free for metrics")


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _run(context: Context) -> Finding:
    """Only the lock counts: the number in the file outlives a killed run, and may be anybody's by now."""
    folder = context.settings.data_dir
    owner = owner_of(run_claim_path(folder))
    if owner is None:
        return ok(f"no other run works on {folder}")
    return fail(f"process {owner} runs a pipeline on {folder}", f"python -m deploy.local stop --data-dir {folder}")


def _clock(context: Context) -> Finding:
    if not context.settings.write:
        return skip("comparing clocks takes a topic of its own", "python -m deploy.doctor --only system.clock --write")
    if context.cluster is None:
        return skip("needs kafka.connection")
    return check_clock(context.cluster, context.settings)


AGAIN = "python -m deploy.doctor --only system"
CHECKS = (
    Check("system.files", _files, AGAIN),
    Check("system.port", _port, "export CIRROSTREAM_METRICS_PORT=0"),
    Check("system.run", _run, AGAIN),
    Check("system.paths", check_paths, AGAIN, ("kafka.listener", "model.files")),
    Check("system.clock", _clock, AGAIN, ("kafka.connection",), limit_s=60),
)
