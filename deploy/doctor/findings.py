"""The words of an examination: a check, what it found, and what to type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.doctor.context import Context

SECONDS = 20.0
"""A check that takes longer has failed, unless it says otherwise."""


class Verdict(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    WARN = "warn"
    """It works, but something will hurt one day; with `--strict` it counts as a failure."""
    FAIL = "fail"
    SKIP = "skip"
    """Not looked at, and why: no verdict on the system."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `remedy` is a command to type, or advice where no command does it."""

    verdict: Verdict
    found: str
    remedy: str = ""


def ok(found: str) -> Finding:
    return Finding(Verdict.OK, found)


def warn(found: str, remedy: str) -> Finding:
    return Finding(Verdict.WARN, found, remedy)


def fail(found: str, remedy: str) -> Finding:
    return Finding(Verdict.FAIL, found, remedy)


def skip(why: str, remedy: str = "") -> Finding:
    return Finding(Verdict.SKIP, why, remedy)


def in_bytes(size: float) -> str:
    """Such as `91 MB`, `1.4 GB`."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"


@dataclass(frozen=True, slots=True)
class Check:
    """One question, `family.what`, asked of the system.

    Args:
        look: answers it. It may raise: a `CirrostreamError`'s text is the finding of a failure, any other
            exception is one, too.
        needs: checks without whose success this one has no meaning; it is skipped when one did not succeed.
        limit_s: after this it has failed. It goes on in the background then, and may hold what it holds.
        remedy: what to type when it raises or does not answer, for the line must never end without one.
    """

    name: str
    look: Callable[[Context], Finding]
    remedy: str
    needs: tuple[str, ...] = ()
    limit_s: float = SECONDS

    @property
    def family(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Result:
    """A check that was made."""

    name: str
    finding: Finding
    seconds: float
