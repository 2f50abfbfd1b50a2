"""A replica that hangs is seen in less than a minute: by the status view, in the metrics, and by an alert that fires.

It is stopped (SIGSTOP): its port still takes connections, and never answers; nothing has ended that a supervisor could
see. The rules are rendered with a window of 20 s in place of 120 s.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.local.child import Child
from deploy.local.prometheus import LAG_JOB, STAGES_JOB, LocalPrometheus, write_targets
from pipeline.announcements import announced
from tests.faults.conftest import NewWorld
from tests.faults.test_scaling import Feeder, embedders
from tests.faults.world import World
from tests.programs import needed
from tests.prometheus import Asked

pytestmark = [pytest.mark.faults, pytest.mark.timeout(500)]

SEEN_WITHIN_S = 60
NOBODY_WITHIN_S = 180
WINDOW = "20s"
STAGES = ("chunk", "embed1", "embed2", "embed3")


def addresses(world: World) -> dict[str, str]:
    """Where the processes answer, by their names here."""
    found = {process.pid: process.address for process in announced(Path(world.environment["CIRROSTREAM_ANNOUNCE_DIR"]))}
    return {name: found[replica.pid] for name, replica in world.replicas.items() if replica.pid in found}


@contextmanager
def watched(world: World) -> Iterator[Asked]:
    """A Prometheus that asks every process of the world each second, with rules that are quick to fire."""
    program = needed("prometheus", "apt-get install prometheus")
    rules = world.folder / "rules"
    render = [sys.executable, "-m", "deploy.prometheus.render", "--window", WINDOW, "--out", str(rules)]
    subprocess.run(render, check=True, stdout=subprocess.DEVNULL)
    prometheus = LocalPrometheus.prepare(world.folder / "prometheus", 1, rules)
    found = addresses(world)
    write_targets(prometheus.targets(STAGES_JOB), {name: found[name] for name in STAGES})
    write_targets(prometheus.targets(LAG_JOB), {"lag": found["lag"]})
    child = Child(prometheus.command(program), world.folder / "logs" / "prometheus.log")
    try:
        asked = Asked(prometheus.address, time.time())
        world.until(lambda: asked.answers() and len(asked.now("up == 1")) == len(STAGES) + 2, "all are up", 60)
        yield asked
    finally:
        child.stop(10)


def status(world: World) -> Any:
    """What `pipeline.status --json` says now."""
    command = [sys.executable, "-m", "pipeline.status", "--json"]
    done = subprocess.run(command, env=world.environment, capture_output=True, text=True, timeout=100, check=True)
    return json.loads(done.stdout)


def stage(view: Any, name: str) -> Any:
    return next(stage for stage in view["stages"] if stage["stage"] == name)


def running(new_world: NewWorld) -> World:
    """One chunker, three embedders, and the exporter of the lag."""
    world = new_world(partitions=6)
    world.add("lag", "pipeline.lag", every="1")
    world.add_chunker("chunk")
    for name in ("embed1", "embed2", "embed3"):
        world.add_embedder(name)
    world.until(lambda: addresses(world).keys() == {"lag", *STAGES}, "all have said where they are", 200)
    return world


def test_one_replica_of_three_that_hangs_is_seen_within_a_minute(new_world: NewWorld) -> None:
    world = running(new_world)
    feeder = Feeder(world)
    try:
        world.until(lambda: embedders(world) == 3, "three are in the group", 120)
        world.until(lambda: all(r.works for n, r in world.replicas.items() if n.startswith("embed")), "all work", 60)
        with watched(world) as prometheus:
            assert ("CirrostreamReplicaDown", "embed2") not in prometheus.firing()
            hung = world.replicas["embed2"]
            began = time.monotonic()
            os.kill(hung.pid, signal.SIGSTOP)
            world.until(lambda: prometheus.now("up")["embed2"] == 0, "up is 0", SEEN_WITHIN_S)
            world.until(
                lambda: ("CirrostreamReplicaDown", "embed2") in prometheus.firing(), "an alert fires", SEEN_WITHIN_S
            )
            replicas = {replica["name"]: replica["state"] for replica in stage(status(world), "embed")["replicas"]}
            assert replicas.pop(f"embed-{hung.pid}") == "no answer", replicas
            assert "no answer" not in replicas.values()
            assert time.monotonic() - began < SEEN_WITHIN_S

            last_turn = 'last_over_time(cirrostream_last_turn_timestamp_seconds{stage="embed"}[5m])'
            ages = prometheus.now(f"time() - max by (instance) ({last_turn})")
            assert ages["embed2"] > 10, "its last turn is old"
            assert max(ages["embed1"], ages["embed3"]) < 10, "those of the others are not"
            assert {name for _, name in prometheus.firing()} <= {"embed2", ""}, "nobody else is blamed"
    finally:
        feeder.close()


def test_with_everything_stopped_the_lag_still_shows(new_world: NewWorld) -> None:
    world = running(new_world)
    feeder = Feeder(world)
    with watched(world) as prometheus:
        try:
            for name in STAGES:
                os.kill(world.replicas[name].pid, signal.SIGSTOP)
            chunking = 'sum(cirrostream_lag_records{stage_of="chunk"})'
            world.until(lambda: prometheus.now(chunking).get("", 0) >= 60, "the lag grows", 60)
        finally:
            feeder.close()
        ends = sum(world.cluster.log(world.names.pages).ends.values())
        behind = ends - sum(world.cluster.committed(world.model.chunk_group, world.names.pages).values())
        world.until(lambda: prometheus.now(chunking)[""] == behind, "to the message", 20)
        found = stage(status(world), "chunk")
        assert (found["lag"], {replica["state"] for replica in found["replicas"]}) == (behind, {"no answer"})
        stuck = {"CirrostreamStageStuck", "CirrostreamNoConsumers"}
        world.until(lambda: {name for name, _ in prometheus.firing()} & stuck, "an alert says so", NOBODY_WITHIN_S)
