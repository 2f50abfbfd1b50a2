"""The watcher of a run: whose replicas it asks, under which names, and that it never dies in silence."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from deploy.local.supervisor import Plan, Supervisor
from deploy.local.watch import Supervised, Watcher
from pipeline.errors import Fatal
from pipeline.status.kafka_watcher import KafkaView
from pipeline.status.targets import Target
from tests.unit.deploy.local.test_supervisor import ScriptedProcess


class Site:
    """A reader and an embedder, as far as a supervisor knows them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, ScriptedProcess] = {}
        self.now = 0.0
        plans = [
            Plan("produce", 0, [], {}, folder / "p.log", endless=False),
            Plan("embed", 0, [], {}, folder / "e.log"),
        ]
        self.supervisor = Supervisor(plans, self.spawn, clock=lambda: self.now)
        self.replicas = Supervised(self.supervisor, folder)

    def spawn(self, plan: Plan) -> ScriptedProcess:
        self.processes[plan.name] = ScriptedProcess(pid=1000 + len(self.processes))
        return self.processes[plan.name]

    def announce(self, name: str, address: str) -> None:
        pid = self.processes[name].pid
        announced = {"service": name, "pid": pid, "address": address}
        (self.folder / f"{pid}.json").write_text(json.dumps(announced))

    def turn(self) -> list[Target]:
        """What is found after a minute."""
        self.now += 60.0
        self.supervisor.turn()
        return self.replicas.find()


def test_replicas_have_the_names_of_their_logs_and_are_there_before_they_serve(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert [target.note for target in site.turn()] == ["starting", "starting"]
    site.announce("embed-0", "127.0.0.1:9401")
    assert [(target.name, target.address, target.stage) for target in site.turn()] == [
        ("produce", "", "produce"),
        ("embed-0", "127.0.0.1:9401", "embed"),
    ]


def test_a_replica_that_ended_its_work_is_asked_no_more_and_one_that_died_is_waited_for(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.turn()
    site.processes["produce"].code, site.processes["embed-0"].code = 0, 75
    [embed] = site.turn()
    assert (embed.name, embed.address) == ("embed-0", "")
    assert embed.note in ("waiting to start", "starting, restarted 1×")


class Kafka:
    """Stands for the thread that looks at Kafka."""

    view = KafkaView()

    def start(self) -> None: ...

    def end(self) -> None: ...


def test_a_watcher_that_breaks_ends_the_run_in_words_instead_of_keeping_it_for_ever(tmp_path: Path) -> None:
    class Broken:
        def take(self) -> None:
            raise ZeroDivisionError("oh")

    kafka: Any = Kafka()
    look: Any = Broken()
    watcher = Watcher(look, kafka, Site(tmp_path).supervisor)
    watcher.start()
    watcher.join(10)
    assert isinstance(watcher.view.fatal, Fatal)
    assert "ZeroDivisionError: oh (a bug" in str(watcher.view.fatal)
    watcher.end()


def test_the_largest_process_of_a_stage_is_remembered(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.turn()
    site.processes["embed-0"].pid = os.getpid()
    site.processes["produce"].pid = 2**22 + 1  # above the kernel's highest

    class Once:
        def take(self) -> object:
            watcher._ended.set()
            return object()

    kafka: Any = Kafka()
    look: Any = Once()
    watcher = Watcher(look, kafka, site.supervisor)
    watcher.start()
    watcher.join(10)
    assert watcher.peaks["embed"] > 10_000_000
    assert "produce" not in watcher.peaks


def test_a_process_that_ends_while_it_is_weighed_leaves_its_stage_no_weight_of_others(tmp_path: Path) -> None:
    class Ending:
        plan = Plan("embed", 0, [], {}, tmp_path / "e.log")
        pids = iter((2**22 + 1, None, None))  # the first is above the kernel's highest

        @property
        def pid(self) -> int | None:
            return next(self.pids)

    site = Site(tmp_path)
    ending: Any = Ending()
    site.supervisor.replicas = [ending]
    kafka: Any = Kafka()
    look: Any = object()
    watcher = Watcher(look, kafka, site.supervisor)
    watcher._weigh()
    assert watcher.peaks == {}
