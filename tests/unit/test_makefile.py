"""The Makefile's own choices: which PyTorch an environment gets."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests import ROOT
from tests.programs import needed


def plan(environment: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The commands that `make setup` would run for a new environment."""
    make = needed("make", "install make")
    command = [make, "--dry-run", "setup", f"VENV={environment}", *words]
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKEOVERRIDES", "TORCH")}
    return subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=False, timeout=60)


def test_with_torch_cpu_pytorch_comes_from_its_own_index_before_all_else(tmp_path: Path) -> None:
    first, second = (line for line in plan(tmp_path / "v", "TORCH=cpu").stdout.splitlines() if "pip install" in line)
    assert first.endswith(
        "--constraint constraints.txt --no-deps --index-url https://download.pytorch.org/whl/cpu torch"
    )
    assert "index-url" not in second
    assert second.endswith("--constraint constraints.txt --editable '.[test,bench]'")


def test_without_it_no_index_is_named(tmp_path: Path) -> None:
    planned = plan(tmp_path / "v")
    assert "pip install" in planned.stdout
    assert "index-url" not in planned.stdout


def test_another_word_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    refused = plan(tmp_path / "v", "TORCH=cuda")
    assert refused.returncode == 2
    assert "TORCH=cuda: cpu, or nothing" in refused.stderr


def test_the_exact_versions_name_no_address() -> None:
    for name in ("constraints.txt", "pyproject.toml"):
        assert "://" not in (ROOT / name).read_text(), name
