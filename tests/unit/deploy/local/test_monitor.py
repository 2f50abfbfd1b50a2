"""Whom Prometheus is told to ask, while replicas come, die and come back."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.local import monitor as monitors
from deploy.local.monitor import Monitor
from deploy.local.prometheus import LAG_JOB, STAGES_JOB, LocalPrometheus
from deploy.local.supervisor import Plan, Supervisor
from pipeline.errors import Exit, UsageError
from tests.programs import needed
from tests.unit.deploy.local.test_supervisor import ScriptedProcess


@dataclass
class Site:
    """A monitor over scripted processes: three stages, the exporter, Prometheus."""

    folder: Path
    said: list[str] = field(default_factory=list)
    processes: dict[str, ScriptedProcess] = field(default_factory=dict)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.stages = self.supervisor(
            Plan("produce", 0, [], {}, self.folder / "produce.log", endless=False),
            Plan("embed", 0, [], {}, self.folder / "embed-0.log"),
            Plan("embed", 1, [], {}, self.folder / "embed-1.log"),
        )
        sidecars = self.supervisor(
            Plan("lag", 0, [], {}, self.folder / "lag.log"),
            Plan("prometheus", 0, [], {}, self.folder / "p.log", foreign=True),
        )
        self.prometheus = LocalPrometheus.prepare(self.folder / "prometheus", 1)
        self.monitor = Monitor(sidecars, self.folder / "announce", self.prometheus)
        (self.folder / "announce").mkdir()

    def supervisor(self, *plans: Plan) -> Supervisor:
        return Supervisor(plans, self.spawn, clock=lambda: self.now)

    def spawn(self, plan: Plan) -> ScriptedProcess:
        self.processes[plan.name] = ScriptedProcess(pid=1000 + 10 * len(self.processes) + len(plan.name))
        return self.processes[plan.name]

    def announce(self, name: str, address: str) -> None:
        pid = self.processes[name].pid
        body = {"service": name.partition("-")[0], "pid": pid, "address": address}
        (self.folder / "announce" / f"{pid}.json").write_text(json.dumps(body))

    def turn(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self.stages.turn()
        self.monitor._looked_at = float("-inf")
        self.monitor.turn(self.stages.replicas, self.said.append)

    def targets(self, job: str = STAGES_JOB) -> dict[str, str]:
        groups = json.loads(self.prometheus.targets(job).read_text())
        return {group["labels"]["instance"]: group["targets"][0] for group in groups}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.turn()
    return made


def test_a_replica_is_asked_from_when_on_it_has_said_where_it_is(site: Site) -> None:
    assert site.targets() == {}
    site.announce("embed-0", "127.0.0.1:9400")
    site.announce("lag-0", "127.0.0.1:9500")
    site.turn()
    assert site.targets() == {"embed-0": "127.0.0.1:9400"}
    assert site.targets(LAG_JOB) == {"lag-0": "127.0.0.1:9500"}
    assert "embed-0 at http://127.0.0.1:9400/metrics" in site.said
    site.turn()
    assert len(site.said) == len(set(site.said)), "each address is said once"


def test_a_dead_replica_stays_a_target_and_comes_back_under_its_name(site: Site) -> None:
    site.announce("embed-0", "127.0.0.1:9400")
    site.turn()
    (dead := site.processes["embed-0"]).code = Exit.TRY_AGAIN
    (site.folder / "announce" / f"{dead.pid}.json").unlink()
    site.turn(0.0)
    assert site.targets() == {"embed-0": "127.0.0.1:9400"}, "or nothing would say that it is down"
    site.turn(60.0)
    assert site.processes["embed-0"] is not dead
    site.announce("embed-0", "127.0.0.1:9407")
    site.turn()
    assert site.targets() == {"embed-0": "127.0.0.1:9407"}


def test_a_producer_that_has_finished_is_no_target_any_more(site: Site) -> None:
    site.announce("produce", "127.0.0.1:9400")
    site.turn()
    assert "produce" in site.targets()
    site.processes["produce"].code = Exit.DONE
    site.turn()
    assert site.targets() == {}


def test_when_all_has_ended_nothing_is_a_target(site: Site) -> None:
    site.announce("embed-0", "127.0.0.1:9400")
    site.turn()
    site.monitor.stop()
    assert site.targets() == {}


def test_a_prometheus_that_cannot_work_is_given_up_and_the_run_goes_on(site: Site) -> None:
    (site.folder / "p.log").write_text("opening storage failed: lock DB directory: resource temporarily unavailable\n")
    site.processes["prometheus-0"].code = 1
    site.turn()
    site.turn()
    told = [line for line in site.said if "goes on without" in line]
    assert len(told) == 1
    assert "prometheus-0 ended with code 1: opening storage failed" in told[0]
    assert [replica.state for replica in site.monitor.supervisor.replicas] == ["running", "failed"]
    assert site.stages.failed is None


def test_targets_are_written_only_when_they_have_changed(site: Site) -> None:
    site.announce("embed-0", "127.0.0.1:9400")
    site.turn()
    before = site.prometheus.targets(STAGES_JOB).stat().st_ino
    site.turn()
    assert site.prometheus.targets(STAGES_JOB).stat().st_ino == before
    assert not list(site.prometheus.folder.glob("*.part"))


def test_without_prometheus_one_line_says_what_to_install_and_the_exporter_starts_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitors, "find_prometheus", lambda: None)
    said: list[str] = []
    made = Monitor.prepare(tmp_path, {"CIRROSTREAM_ANNOUNCE_DIR": str(tmp_path)}, 5, said.append)
    assert len(said) == 1
    assert "apt-get install prometheus" in said[0]
    assert [plan.name for plan in made.supervisor.plans] == ["lag-0"]


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "prometheus").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        LocalPrometheus.prepare(tmp_path / "prometheus", 5)


def test_it_listens_on_loopback_alone_and_keeps_only_so_much(tmp_path: Path) -> None:
    made = LocalPrometheus.prepare(tmp_path, 5)
    command = " ".join(made.command("prometheus"))
    assert f"--web.listen-address=127.0.0.1:{made.port}" in command
    assert "--storage.tsdb.retention.size=" in command
    assert "--storage.tsdb.retention.time=" in command


def test_the_configuration_is_one_that_prometheus_takes(tmp_path: Path) -> None:
    promtool = needed("promtool", "apt-get install prometheus")
    made = LocalPrometheus.prepare(tmp_path / "prometheus", 5)
    done = subprocess.run(
        [promtool, "check", "config", str(made.configuration)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
