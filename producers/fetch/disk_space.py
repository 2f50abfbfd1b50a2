"""Whether a download fits on the disk, asked before it begins and not found out at 3 a.m."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import UsageError
from producers.fetch.settings import GIB

MARGIN_BYTES = GIB
"""To leave free: Kafka, the table and the logs write as well."""


def free_bytes(folder: Path) -> int:
    """Free space where the folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_space(folder: Path, needed: int, advice: str, free: Callable[[Path], int] = free_bytes) -> None:
    """Raises UsageError, with the advice, when `needed` bytes and the margin do not fit."""
    left = free(folder)
    if needed and needed + MARGIN_BYTES > left:
        raise UsageError(
            f"{folder}: {needed / GIB:,.1f} GiB to download and {MARGIN_BYTES / GIB:g} GiB to spare do not fit into "
            f"the {left / GIB:,.1f} GiB that are free: {advice}, or choose another --data-dir"
        )
