"""What a process may use is what its container says, where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.cores import usable_memory

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("file", ["memory.max", "memory/memory.limit_in_bytes"])
def test_a_containers_limit_counts(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("805306368\n")
    assert usable_memory(tmp_path) == 805306368


@pytest.mark.parametrize("limit", ["max\n", "9223372036854771712\n", ""])
def test_without_a_limit_it_is_the_machines(tmp_path: Path, limit: str) -> None:
    (tmp_path / "memory.max").write_text(limit)
    assert usable_memory(tmp_path) == MACHINE
    assert usable_memory(tmp_path / "none") == MACHINE
