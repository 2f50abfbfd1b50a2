"""What a test cannot do without and this machine may not have: it fails in CI, and is skipped, saying so, elsewhere."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Ends the test, or the fixture, for want of something."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def needed(program: str, install: str) -> str:
    """The program's path; `install` says what to type where there is none."""
    found = shutil.which(program)
    if found is None:
        missing(f"{program} is not on the PATH: {install}")
    return found
