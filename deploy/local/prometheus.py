"""A Prometheus on this machine: how it is configured, and what it is told of whom to ask."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.ports import HOST, free_port
from pipeline.errors import UsageError

PREFERRED_PORT = 9090
KEPT_TIME = "15d"
KEPT_SIZE = "1GB"
"""Whichever comes first: a local run of weeks with 16 replicas stays below it."""
SAMPLES_AN_ANSWER = 50_000
"""The exporter's answer grows with partitions; whatever else is on a port that was once ours is not worth more."""
RULES = Path(__file__).parents[1] / "prometheus" / "rules"
STAGES_JOB, LAG_JOB = "cirrostream", "cirrostream-lag"


def find_prometheus() -> str | None:
    """The program on the PATH, if it is there."""
    return shutil.which("prometheus")


@dataclass(frozen=True, slots=True)
class LocalPrometheus:
    """A Prometheus that keeps its data below `folder`, and answers on loopback alone."""

    folder: Path
    port: int
    scrape_seconds: int
    rules: Path = RULES

    @classmethod
    def prepare(cls, folder: Path, scrape_seconds: int, rules: Path = RULES) -> LocalPrometheus:
        """Chooses a port and writes the configuration; the records of earlier runs stay.

        Raises:
            UsageError: the folder cannot be written.
        """
        made = cls(folder, free_port(PREFERRED_PORT), scrape_seconds, rules)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            made.configuration.write_text(json.dumps(made.settings(), indent=2) + "\n")  # YAML takes JSON as it is
            for job in (STAGES_JOB, LAG_JOB):
                write_targets(made.targets(job), {})
        except OSError as error:
            raise UsageError(f"{folder} cannot be written: {error.strerror}; leave --monitor out") from None
        return made

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def configuration(self) -> Path:
        return self.folder / "prometheus.yml"

    def targets(self, job: str) -> Path:
        """The file that says whom to ask."""
        return self.folder / f"{job}.json"

    def command(self, program: str) -> list[str]:
        return [
            program,
            f"--config.file={self.configuration}",
            f"--storage.tsdb.path={self.folder / 'tsdb'}",
            f"--storage.tsdb.retention.time={KEPT_TIME}",
            f"--storage.tsdb.retention.size={KEPT_SIZE}",
            f"--web.listen-address={HOST}:{self.port}",
            "--log.level=warn",
        ]

    def settings(self) -> dict[str, object]:
        """`prometheus.yml`."""
        every = f"{self.scrape_seconds}s"
        return {
            "global": {
                "scrape_interval": every,
                "scrape_timeout": f"{min(self.scrape_seconds, 10)}s",
                "evaluation_interval": every,
            },
            "rule_files": [str(self.rules / "*.yml"), str(self.rules / "*.yaml")],
            "scrape_configs": [
                *(self._discovered(job) for job in (STAGES_JOB, LAG_JOB)),
                {"job_name": "prometheus", "static_configs": [{"targets": [f"{HOST}:{self.port}"]}]},
            ],
        }

    def _discovered(self, job: str) -> dict[str, object]:
        return {
            "job_name": job,
            "sample_limit": SAMPLES_AN_ANSWER,
            "file_sd_configs": [{"files": [str(self.targets(job))], "refresh_interval": "5s"}],
        }


@dataclass(slots=True)
class Targets:
    """The file of a job, written anew when something has changed.

    A replica is a target under its own name, not under its address: that changes when it is started again, and its
    series would end and begin. One that is dead stays a target, so that `up` says 0 of it.
    """

    path: Path
    _written: dict[str, str] = field(default_factory=dict)

    def update(self, addresses: Mapping[str, str]) -> None:
        """`addresses` by the names of replicas."""
        if dict(addresses) != self._written:
            write_targets(self.path, addresses)
            self._written = dict(addresses)


def write_targets(path: Path, addresses: Mapping[str, str]) -> None:
    """A file_sd list that no reader ever sees half of; the part has another ending than what Prometheus looks at."""
    groups = [{"targets": [address], "labels": {"instance": name}} for name, address in sorted(addresses.items())]
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(groups, indent=2) + "\n")
    part.replace(path)
