"""The environment of a child: as little of ours as it needs, and no secret that is not for it.

For a child that works on foreign data, and for other programs, a list of what goes in, not of what stays out: the next
secret has a name that nobody has thought of yet. A stage gets the rest, too, for its settings are there.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from pipeline.known_secrets import is_secret_name

Need = Literal["kafka", "hub", "store"]

_KINDS: Mapping[Need, tuple[str, ...]] = {
    "kafka": ("KAFKA_",),
    "hub": ("HF_", "HUGGING_FACE_"),
    "store": ("AWS_", "AZURE_", "GOOGLE_"),
}

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
    """The variables that decide how a program runs, with our packages on Python's path wherever the child starts."""
    kept = {name: value for name, value in environment.items() if name in _KEPT or name.startswith(_KEPT_KINDS)}
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (environment.get("PYTHONPATH"), str(_ROOT))))
    return kept


def with_secrets_for(needs: Collection[Need], environment: Mapping[str, str]) -> dict[str, str]:
    """This environment without the secrets that are for something else than what is needed."""
    kept = tuple(prefix for need in needs for prefix in _KINDS[need])
    return {name: value for name, value in environment.items() if not is_secret_name(name) or name.startswith(kept)}
