"""Programs that are not Python's, and that a test cannot do without."""

from __future__ import annotations

import os
import shutil

import pytest


def needed(program: str, install: str) -> str:
    """The program's path. Where it is missing, the test fails in CI, and is skipped, saying what to type, elsewhere."""
    found = shutil.which(program)
    if found is None:
        reason = f"{program} is not on the PATH: {install}"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found
