"""The version of this program, as metrics, tables and records name it."""

from __future__ import annotations

import importlib.metadata
from functools import cache


@cache
def version() -> str:
    """This package's version; `unknown` in a checkout that was never installed."""
    try:
        return importlib.metadata.version("cirrostream")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
