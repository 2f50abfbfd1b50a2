"""Announcements, by which processes of one machine find each other: a file each, with the address of its /metrics."""

from __future__ import annotations

from pathlib import Path

import msgspec

LARGEST_BYTES = 4096


class Announced(msgspec.Struct, frozen=True):
    """A process that says where it is."""

    service: str
    pid: int
    address: str


def announce(folder: Path, process: Announced) -> Path:
    """Writes the process' file, of which no reader ever sees half. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{process.service}-{process.pid}.json"
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(process))
    part.replace(path)
    return path


def announced(folder: Path) -> list[Announced]:
    """All processes that say where they are; a file that is being removed or is none counts nothing."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            with path.open("rb") as file:
                found.append(msgspec.json.decode(file.read(LARGEST_BYTES), type=Announced))
        except (OSError, msgspec.DecodeError):
            continue
    return found


def withdraw(folder: Path, pid: int) -> None:
    """Removes what a process left behind that could not remove it itself: it was killed."""
    for path in folder.glob(f"*-{pid}.json"):
        path.unlink(missing_ok=True)
