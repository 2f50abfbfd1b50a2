"""The cores and the memory that this process may use."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""A container sees its own limits here."""


def usable_cores() -> int:
    """Cores that this process may use, which in a container or under `taskset` are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_memory(cgroup: Path = CGROUP) -> int:
    """Bytes that this process and its children may use together, which in a container are fewer than there are."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"]
    return min([pages, *(limit for limit in map(_number, limits) if limit)])


def _number(file: Path) -> int:
    """The number in the file; 0 for no file, and for `max`."""
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
