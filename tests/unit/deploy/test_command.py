"""`cirrostream COMMAND` is `python -m MODULE`: each is there, with the same help, and listing them loads none."""

from __future__ import annotations

import importlib
import os
import re
import resource
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from deploy.command import COMMANDS, SUMMARY, Command, Commands, group, importable
from deploy.local.jars import LOCK_FILE
from deploy.local.monitor import DASHBOARDS
from deploy.local.prometheus import RULES
from pipeline.version import version
from tests import ROOT

PACKAGES = ("pipeline", "producers", "consumers", "sinks", "deploy")
RUNS = re.compile(r'^    (?:cli\.)?run\(app, "([a-z_.]+)"\)$', re.MULTILINE)
OF_DEVELOPERS = {"deploy.prometheus.render"}
"""`make dashboards` runs it."""

LIST_WITHOUT = ("torch", "transformers", "lancedb", "kafka", "pyarrow", "faust", "numpy", "pydantic_settings")
HELP_SECONDS = 0.3
"""Of processor time, on a machine that does nothing else."""


def _everything() -> Iterator[tuple[str, Command]]:
    for commands in COMMANDS.values():
        for name, place in commands.items():
            if isinstance(place, Commands):
                yield from ((f"{name} {below}", command) for below, command in place.commands.items())
            else:
                yield name, place


EVERYTHING = dict(_everything())


def said(program: Any, words: list[str], prog_name: str, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    with pytest.raises(SystemExit) as ended:
        program(words, prog_name=prog_name)
    captured = capsys.readouterr()
    return ended.value.code, captured.out + captured.err


def cirrostream(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    return said(group(COMMANDS, SUMMARY, program=True), list(words), "cirrostream", capsys)


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_command_has_the_help_of_its_module(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = EVERYTHING[name]
    of_module: Any = typer.main.get_command(importlib.import_module(importable(command.module)).app)
    above = f"cirrostream {name}".removesuffix(f" {command.of_module}") if command.of_module else f"cirrostream {name}"
    expected = said(of_module, [*command.of_module.split(), "--help"], above, capsys)
    assert expected[0] == 0
    assert cirrostream(*name.split(), "--help", capsys=capsys) == expected


def test_every_command_line_that_a_user_types_is_there() -> None:
    found = {
        module
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for module in RUNS.findall(path.read_text(encoding="utf-8"))
    }
    assert {command.module for command in EVERYTHING.values()} == found - OF_DEVELOPERS


def test_every_command_of_a_module_with_several_is_there() -> None:
    here: Any = typer.main.get_command(importlib.import_module(importable("deploy.local")).app)
    assert {command.of_module for command in EVERYTHING.values() if command.of_module} == set(here.commands)


def test_an_exit_code_and_an_error_are_the_modules_own(capsys: pytest.CaptureFixture[str]) -> None:
    code, words = cirrostream("search", "--json", capsys=capsys)
    assert (code, words.startswith("error: --json needs a question")) == (2, True)


def test_a_setting_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CIRROSTREAM_DATA_DIR", str(tmp_path / "here"))
    assert cirrostream("stop", capsys=capsys) == (0, f"nothing runs on {tmp_path / 'here'}\n")


def test_a_command_that_is_not_there_is_refused_with_one_like_it(capsys: pytest.CaptureFixture[str]) -> None:
    code, words = cirrostream("serch", capsys=capsys)
    assert (code, "Did you mean 'search'?" in words) == (2, True)


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert cirrostream("--version", capsys=capsys) == (0, f"cirrostream {version()}\n")


def alone(code: str, **environment: str) -> tuple[str, float]:
    """The output and processor seconds of a new interpreter."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert done.returncode == 0, done.stderr
    return done.stdout, spent


LISTS = f"""
import atexit, sys
atexit.register(lambda: print("loaded:", *sorted(set({LIST_WITHOUT}) & set(sys.modules))))
from deploy.command import main
sys.argv = ["cirrostream", *{{words}}]
main()
"""


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["produce", "--help"]], ids=" ".join)
def test_listing_the_commands_loads_none(words: list[str]) -> None:
    out, _ = alone(LISTS.format(words=words))
    assert out.splitlines()[-1] == "loaded:"


def test_completing_a_commands_name_loads_none() -> None:
    completing = {"_CIRROSTREAM_COMPLETE": "complete_bash", "COMP_WORDS": "cirrostream ver", "COMP_CWORD": "1"}
    assert alone(LISTS.format(words=[]), **completing)[0].split() == ["verify", "loaded:"]


def test_help_is_quick() -> None:
    """The best of three, and twice as much time as it has: other processes want the caches, too."""
    spent = min(alone(LISTS.format(words=["--help"]))[1] for _ in range(3))
    assert spent < 2 * HELP_SECONDS


def test_the_package_installs_the_command_and_what_a_run_reads_beside_the_code() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert declared["project"]["scripts"] == {"cirrostream": "deploy.command:main"}
    packed = {
        path
        for package, patterns in declared["tool"]["setuptools"]["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package).glob(pattern)
    }
    assert {LOCK_FILE, *RULES.glob("*.yml"), *DASHBOARDS.glob("*.json")} <= packed
