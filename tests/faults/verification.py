"""The proof that users run, run on a test's world."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.faults.world import World


def verified(world: World, *options: str) -> tuple[int, str]:
    """Exit code and standard output of `python -m sinks.verify --json`."""
    done = subprocess.run(
        [sys.executable, "-m", "sinks.verify", "--json", *options],
        env=world.environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return done.returncode, done.stdout or done.stderr


def assert_verified(world: World) -> None:
    """Invariants 1, 2, 3 and 5, page by page against the corpus in Kafka."""
    code, said = verified(world)
    assert code == 0, said
    assert json.loads(said)
