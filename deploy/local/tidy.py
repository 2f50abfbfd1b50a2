"""Stops what runs on a data folder, and empties it."""

from __future__ import annotations

import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

from deploy.local.claim import claimed, owner_of
from deploy.local.estimate import folder_bytes
from deploy.local.running import claim_path
from pipeline.errors import TryAgain, UsageError

OURS = ("kafka", "lance", "logs", "prometheus", "reports", "run")
"""Files of the runner and its stages; whatever else is in the folder is not ours to delete."""
END_SECONDS = 75.0
"""Stages have 30 s, then Kafka 30 s."""


def run_claim_path(data_dir: Path) -> Path:
    """The file that a run holds locked."""
    return data_dir / "run" / "claim"


def stop_all(data_dir: Path) -> list[str]:
    """Ends the run and the Kafka on this folder; what there was.

    Raises:
        TryAgain: it did not end in time.
    """
    claims = {"the run": run_claim_path(data_dir), "Kafka": claim_path(data_dir)}
    return [name for name, path in claims.items() if _stop_owner(name, path)]


def reset_data(data_dir: Path, *, really: bool) -> list[Path]:
    """Deletes our folders below `data_dir`; those that were there.

    Raises:
        UsageError: not `really`, or something runs on the folder.
    """
    found = [folder for name in OURS if (folder := data_dir / name).is_dir() and not folder.is_symlink()]
    if found and not really:
        names = ", ".join(map(str, found))
        size = sum(folder_bytes(folder) for folder in found) / 1e6
        raise UsageError(f"this would delete {names} ({size:,.0f} MB): add --yes to do it")
    if not found:
        return []
    with claimed(run_claim_path(data_dir)), claimed(claim_path(data_dir)):
        for folder in found:
            shutil.rmtree(folder)
    for made in (run_claim_path(data_dir).parent, claim_path(data_dir).parent):
        shutil.rmtree(made, ignore_errors=True)  # the claims just held
    return found


def _stop_owner(name: str, claim: Path) -> bool:
    pid = owner_of(claim)
    if pid is None:
        return False
    with suppress(psutil.NoSuchProcess):
        owner = psutil.Process(pid)
        # A dead owner's id may be another's by now, while its broker is just being killed and still holds the claim.
        if owner.create_time() <= claim.stat().st_mtime + 1:
            owner.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + END_SECONDS
    while owner_of(claim) is not None:
        if time.monotonic() > deadline:
            raise TryAgain(
                f"{name} (process {pid}) has not ended within {END_SECONDS:.0f} s; end it with kill -9 {pid}"
            )
        time.sleep(0.1)
    return True
