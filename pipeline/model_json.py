"""Reads one of a model's small JSON files, or says in one line what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from pipeline.errors import UsageError

MAX_JSON_BYTES = 8 * 1024 * 1024

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")


def read_json(path: Path, kind: type[S]) -> S | None:
    """The file's contents; None when there is no such file."""
    return parse_json(path, kind) if path.exists() else None


def parse_json(path: Path, kind: type[T]) -> T:
    """The file's contents. Raises UsageError for a file that is missing, too large, or not what it should be."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UsageError(f"{path}: larger than {MAX_JSON_BYTES} bytes, which no model's configuration is")
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: {error}") from None
