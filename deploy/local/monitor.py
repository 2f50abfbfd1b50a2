"""Monitoring for a run: Prometheus, the exporter of the lag, and their list of whom to ask."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.local.prometheus import LAG_JOB, STAGES_JOB, LocalPrometheus, Targets, find_prometheus
from deploy.local.run_settings import SupervisedSettings
from deploy.local.stages import supervisor_of
from deploy.local.supervisor import Plan, Replica, Supervisor, failure_line
from pipeline.announcements import announced

LOOK_S = 0.5
STOP_S = 3.0
"""Prometheus survives kill -9; a spot host has other things to do."""
DASHBOARDS = Path(__file__).parents[2] / "grafana" / "dashboards"
PRINT_ONCE = ("CIRROSTREAM_JSON_OUTPUT", "CIRROSTREAM_ONCE")
MISSING = (
    "--monitor: no `prometheus` on the PATH, so nothing is recorded; the run goes on. Debian and Ubuntu: "
    "apt-get install prometheus; others: https://prometheus.io/download"
)


@dataclass(slots=True)
class Monitor:
    """Prometheus and the exporter, supervised apart from the stages: when they fail, the run goes on without them."""

    supervisor: Supervisor
    announce_dir: Path
    prometheus: LocalPrometheus | None
    _targets: dict[str, Targets] = field(default_factory=dict)
    _addresses: dict[str, str] = field(default_factory=dict)
    """The newest address of every replica by name, dead ones included."""
    _looked_at: float = float("-inf")
    _given_up: set[str] = field(default_factory=set)

    @classmethod
    def prepare(
        cls, data_dir: Path, environment: Mapping[str, str], scrape_seconds: int, say: Callable[[str], None]
    ) -> Monitor:
        """Writes the configuration, and says where everything will be."""
        logs, announce_dir = data_dir / "logs", Path(environment["CIRROSTREAM_ANNOUNCE_DIR"])
        plans = [_lag_plan(environment, scrape_seconds, logs)]
        program, prometheus = find_prometheus(), None
        if program is None:
            say(MISSING)
        else:
            prometheus = LocalPrometheus.prepare(data_dir.absolute() / "prometheus", scrape_seconds)
            plans.append(replace(_plan("prometheus", prometheus.command(program), environment, logs), foreign=True))
            say(f"Prometheus at {prometheus.address}, alerts at {prometheus.address}/alerts")
            say(f"Grafana: add {prometheus.address} as a Prometheus data source, then import {DASHBOARDS}/*.json")
        return cls(supervisor_of(plans), announce_dir, prometheus)

    def turn(self, stages: Iterable[Replica], say: Callable[[str], None]) -> None:
        """To be called a few times a second; what it cannot do it says once, and tries again."""
        try:
            self._turn(stages, say)
        except OSError as error:
            if "files" not in self._given_up:
                self._given_up.add("files")
                say(f"--monitor: {error}; the run goes on, what Prometheus sees may be old")

    def _turn(self, stages: Iterable[Replica], say: Callable[[str], None]) -> None:
        self.supervisor.turn()
        for replica in self.supervisor.replicas:
            if replica.state == "failed" and replica.plan.name not in self._given_up:
                self._given_up.add(replica.plan.name)
                say(f"the run goes on without {failure_line(replica)}")
        if time.monotonic() - self._looked_at >= LOOK_S:
            self._looked_at = time.monotonic()
            self._discover(list(stages), say)

    def stop(self) -> None:
        """Ends what was started; whoever looks at the records later must not ask ports that are strangers' by then."""
        self.supervisor.stop(STOP_S)
        for targets in self._targets.values():
            with suppress(OSError):
                targets.update({})

    def _discover(self, stages: list[Replica], say: Callable[[str], None]) -> None:
        found = {process.pid: process.address for process in announced(self.announce_dir)}
        for job, replicas in ((STAGES_JOB, stages), (LAG_JOB, self.supervisor.replicas)):
            expected = [replica for replica in replicas if replica.state in ("running", "waiting")]
            for replica in expected:
                self._note(replica.plan.name, found.get(replica.pid or 0), say)
            names = [replica.plan.name for replica in expected]
            if self.prometheus is not None:
                targets = self._targets.setdefault(job, Targets(self.prometheus.targets(job)))
                targets.update({name: self._addresses[name] for name in names if name in self._addresses})

    def _note(self, name: str, address: str | None, say: Callable[[str], None]) -> None:
        if address is not None and address != self._addresses.get(name):
            self._addresses[name] = address
            say(f"{name} at http://{address}/metrics")


def monitor_of(
    settings: SupervisedSettings, environment: Mapping[str, str], say: Callable[[str], None]
) -> Monitor | None:
    """The monitor, where one is wanted."""
    if not settings.monitor:
        return None
    return Monitor.prepare(settings.data_dir, environment, settings.scrape_seconds, say)


def _lag_plan(environment: Mapping[str, str], every: int, logs: Path) -> Plan:
    """The exporter, which asks as often as it is asked; it serves, whatever its user wants of other commands."""
    wanted = {"CIRROSTREAM_EVERY": str(every), **environment}
    wanted = {name: value for name, value in wanted.items() if name not in PRINT_ONCE}
    return _plan("lag", [sys.executable, "-m", "pipeline.lag"], wanted, logs)


def _plan(name: str, command: list[str], environment: Mapping[str, str], logs: Path) -> Plan:
    return Plan(name, 0, command, dict(environment), logs / f"{name}.log")
