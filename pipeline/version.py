"""The version of this program, as metrics, tables and records name it."""

from __future__ import annotations

from functools import cache


@cache
def version() -> str:
    """This package's version; `unknown` in a checkout that was never installed."""
    import importlib.metadata  # loads a parser of mail: listing the commands does without

    try:
        return importlib.metadata.version("cirrostream")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
