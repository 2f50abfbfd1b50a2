"""Runs a module as `python -m` does, but stops itself (SIGSTOP) just before one call of one function.

    python -m tests.faults.stopping consumers.embed pipeline.publisher:Publisher.publish 2

A zombie made so is in the same place every time, unlike one that a test tries to hit from outside. The function must
not be one of the module itself, which runs as `__main__`.
"""

from __future__ import annotations

import importlib
import os
import runpy
import signal
import sys
from typing import Any


def stop_before(where: str, call: int) -> None:
    """Makes the `call`-th call of `module:Class.method` stop this process first."""
    module, _, path = where.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original = getattr(owner, name)
    calls = 0

    def stopping(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGSTOP)
        return original(*args, **kwargs)

    setattr(owner, name, stopping)


if __name__ == "__main__":
    module, where, call = sys.argv[1], sys.argv[2], int(sys.argv[3])
    stop_before(where, call)
    sys.argv = [module, *sys.argv[4:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
