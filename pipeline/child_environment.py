"""The environment of a child that works on foreign data: what Python and its libraries need, and no secret.

A list of what goes in, not of what stays out: the next secret has a name that nobody has thought of yet.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]

_KEPT = frozenset(
    {
        *("PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV"),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"),
        *("PYTHONUTF8", "PYTHONIOENCODING", "RAYON_NUM_THREADS", "TOKENIZERS_PARALLELISM", "OMP_NUM_THREADS"),
    }
)
_KEPT_KINDS = ("LC_", "MALLOC_")


def child_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What decides how a program runs; with our packages on Python's path, wherever the child is started."""
    kept = {name: value for name, value in environment.items() if name in _KEPT or name.startswith(_KEPT_KINDS)}
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (environment.get("PYTHONPATH"), str(_ROOT))))
    return kept
