"""An earlier commit's code, out of this repository's history: it makes what its users have, and reads what today's
code has written since."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import ROOT
from tests.programs import missing, needed

COMMIT = "8c9e2ef"
"""From this commit on, every later one opens what it made."""


def unpack(folder: Path, commit: str = COMMIT) -> Path:
    """That commit's files, in `folder`. Skips the test in a checkout without history, which has nothing to compare."""
    git = needed("git", "install git")
    archive = _git(git, "archive", commit)
    if archive.returncode:
        shallow = _git(git, "rev-parse", "--is-shallow-repository")
        if shallow.stdout.strip() != b"false":
            pytest.skip(f"no commit {commit} in a checkout without history (git fetch --unshallow)")
        missing(f"commit {commit} is not in this repository: {archive.stderr.decode()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


def _git(git: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([git, *arguments], cwd=ROOT, capture_output=True, check=False)


def environment(code: Path, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """An environment in which `python -m` runs the modules in `code`, whatever the working folder has."""
    return {**base, "PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}
