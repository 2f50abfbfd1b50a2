"""The files for rented GPU hosts: what they run exists, they come back by themselves, and they hold no secret."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import ROOT
from tests.composed import DEPLOY
from tests.deployed import check_command, check_environment
from tests.programs import needed

CLOUD = DEPLOY / "cloud"


CLOUD_INIT = {"users", "package_update", "packages", "write_files", "runcmd"}
"""Modules of cloud-init that we use, by their key (cloudinit/config/schemas)."""
SKYPILOT = {"name", "workdir", "resources", "envs", "secrets", "file_mounts", "setup", "run"}
RESOURCES = {"accelerators", "use_spot", "cpus", "memory", "disk_size", "job_recovery"}
RECOVERY = {"strategy", "max_restarts_on_errors", "recover_on_exit_codes"}
"""Fields of a SkyPilot task that we use (sky/utils/schemas.py)."""

PYTHON = "/opt/cirrostream/.venv/bin/python"


@pytest.fixture(scope="module")
def cloud_init() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CLOUD / "cloud-init.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def skypilot() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CLOUD / "skypilot.yaml").read_text())
    return loaded


def written(cloud_init: dict[str, Any], name: str) -> str:
    """The content of the file of this name that cloud-init writes."""
    (content,) = [file["content"] for file in cloud_init["write_files"] if Path(file["path"]).name == name]
    return str(content)


def options(unit: str) -> dict[str, list[str]]:
    """The options of a systemd unit, each with all its values."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def workers(command: str) -> list[str]:
    """The arguments of the one line that starts workers."""
    (line,) = [line for line in command.splitlines() if "deploy.local" in line]
    return shlex.split(line.removeprefix("exec "))


def test_cloud_init_reads_the_file_as_its_own(cloud_init: dict[str, Any]) -> None:
    assert (CLOUD / "cloud-init.yaml").read_text().startswith("#cloud-config\n")
    assert set(cloud_init) == CLOUD_INIT
    assert (CLOUD / "cloud-init.yaml").stat().st_size < 16_384, "the most user data that AWS takes"


def test_the_unit_runs_workers_with_variables_that_they_read(cloud_init: dict[str, Any]) -> None:
    unit = options(written(cloud_init, "cirrostream.service"))
    (command,) = unit["ExecStart"]
    assert command.startswith(f"{PYTHON} ")
    check_command(shlex.split(command))
    check_environment("deploy.local workers", [pair.partition("=")[0] for pair in unit["Environment"][0].split()])
    assert workers(command)[-2:] == ["--embedders", "auto"], "one a GPU"


def test_the_unit_comes_back_after_codes_that_a_restart_may_cure_and_not_after_others(
    cloud_init: dict[str, Any],
) -> None:
    unit = options(written(cloud_init, "cirrostream.service"))
    assert unit["Restart"] == ["on-failure"]
    assert unit["RestartForceExitStatus"] == ["70 75"]
    assert "2" in unit["RestartPreventExitStatus"][0].split()
    assert unit["StartLimitIntervalSec"] == ["0"], "systemd would give up after five starts"


def test_a_host_that_is_taken_away_gives_the_workers_the_ten_seconds_that_they_take(cloud_init: dict[str, Any]) -> None:
    unit = options(written(cloud_init, "cirrostream.service"))
    assert 10 < int(unit["TimeoutStopSec"][0]) <= 15
    assert unit["KillMode"] == ["mixed"], "the supervisor stops its workers, in order"


def test_the_workers_wait_for_their_secrets_and_start_when_these_come(cloud_init: dict[str, Any]) -> None:
    service, path = (options(written(cloud_init, f"cirrostream.{kind}")) for kind in ("service", "path"))
    assert path["PathChanged"] == service["EnvironmentFile"]
    assert service["EnvironmentFile"][0] in service["ConditionPathExists"]
    enabled = [command[-1] for command in cloud_init["runcmd"] if command[:3] == ["systemctl", "enable", "--now"]]
    assert enabled == ["cirrostream.path", "cirrostream.service"], (
        "the watch sees only what comes after it, so the service is started after it, for secrets that came before"
    )
    folder = str(Path(service["EnvironmentFile"][0]).parent)
    assert f"--group=cirrostream {folder}" in written(cloud_init, "install-cirrostream")
    made = (DEPLOY / "compose" / "make-secrets.sh").read_text()
    assert f"KAFKA_SSL_CAFILE={folder}/ca.crt" in made


def test_the_units_are_well_formed(cloud_init: dict[str, Any], tmp_path: Path) -> None:
    needed("systemd-analyze", "install the package systemd")
    for kind in ("service", "path"):
        unit = written(cloud_init, f"cirrostream.{kind}").replace(PYTHON, sys.executable)
        (tmp_path / f"cirrostream.{kind}").write_text(unit)
    units = [str(tmp_path / f"cirrostream.{kind}") for kind in ("service", "path")]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    # systemd before 254 does not know the pauses that grow; it ignores them.
    unknown = [line for line in done.stderr.splitlines() if not re.search("'Restart(Steps|MaxDelaySec)'", line)]
    assert (done.returncode, unknown) == (0, [])


def test_the_installation_is_a_sound_script(cloud_init: dict[str, Any]) -> None:
    script = written(cloud_init, "install-cirrostream")
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert "set -euo pipefail" in script
    assert Path(PYTHON).parent.parent.name in script
    assert script.rstrip().endswith("touch .venv/ready"), "a half-made environment is not started"


def test_skypilot_knows_the_fields(skypilot: dict[str, Any]) -> None:
    assert set(skypilot) == SKYPILOT
    assert set(skypilot["resources"]) == RESOURCES
    assert set(skypilot["resources"]["job_recovery"]) == RECOVERY
    assert skypilot["resources"]["use_spot"]
    assert skypilot["resources"]["job_recovery"]["recover_on_exit_codes"] == [70, 75]


def test_skypilot_runs_workers_that_end_when_all_is_done(skypilot: dict[str, Any]) -> None:
    command = workers(skypilot["run"])
    check_command(command)
    assert "--until-drained" in command, "a host that nobody needs is paid for"
    check_environment("deploy.local workers", [*skypilot["envs"], *skypilot["secrets"]])
    for script in (skypilot["setup"], skypilot["run"]):
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_skypilot_takes_along_the_certificate_that_kafka_is_checked_by(skypilot: dict[str, Any]) -> None:
    assert skypilot["file_mounts"] == {skypilot["envs"]["KAFKA_SSL_CAFILE"]: "deploy/compose/secrets/ca.crt"}


def test_what_must_be_given_has_no_value_in_the_file(skypilot: dict[str, Any]) -> None:
    assert skypilot["secrets"] == {"KAFKA_SASL_PASSWORD": None}
    assert skypilot["envs"]["KAFKA_BOOTSTRAP_SERVERS"] is None


@pytest.mark.parametrize("name", ["cloud-init.yaml", "skypilot.yaml"])
def test_packages_are_installed_in_the_versions_that_were_tested(name: str) -> None:
    installs = re.findall(r"\.venv/bin/pip install (.+)", (CLOUD / name).read_text())
    assert len(installs) == 1
    assert "--constraint constraints.txt" in installs[0]
    for package in re.findall(r"[\w-]+$", installs[0]):
        assert re.search(rf"^{package}==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


def test_a_host_installs_the_commit_it_is_told_and_not_as_root(cloud_init: dict[str, Any], tmp_path: Path) -> None:
    script = written(cloud_init, "install-cirrostream")
    assert "git clone" not in script
    for line in script.splitlines():
        if re.search(r"\b(git|pip install|venv \.venv)\b", line) and "[ -d" not in line.split("as_user")[0][-12:]:
            assert "as_user " in line or line.strip().startswith("source="), line
    refused = subprocess.run(["bash"], input=script, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert refused.returncode == 2, "as it stands in the repository it installs nothing"
    assert "put the commit to install into its marked line" in refused.stderr


@pytest.mark.parametrize(
    "file", ["deploy/cloud/skypilot.yaml", "docs/compose.md", "docs/operations.md", "docs/kubernetes.md"]
)
def test_no_command_line_that_we_tell_to_type_has_a_secret(file: str) -> None:
    text = (ROOT / file).read_text()
    assert not re.search(r"(?i)(password|secret|token)\w*=[\"']?\$\(", text)
    assert not re.search(r"(?i)\w*(password|token)=(?!\w*\W*$)[^\s`|]*…", text)
