"""The context of the checks: the system that they look at, and the findings that later checks need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from deploy.doctor.settings import DoctorSettings

if TYPE_CHECKING:  # heavy, and perhaps not installed: that is for a check to find out
    from deploy.doctor.trial import Trial
    from pipeline.kafka import Cluster
    from pipeline.model_files import ModelFiles
    from sinks.fence import Fence

T = TypeVar("T")


@dataclass(slots=True)
class Context:
    """The system that these settings mean. A check sets what it has found; those that need it name it in `needs`."""

    settings: DoctorSettings
    cluster: Cluster | None = None
    """By `kafka.connection`."""
    model: ModelFiles | None = None
    """By `model.files`."""
    trial: Trial | None = None
    """By `model.embedding`."""
    fence: Fence | None = None
    """By `table.fence`; None as well when there is no table yet."""


def known(learned: T | None) -> T:
    """A value that an earlier check must have set; raises LookupError when it has not, a mistake in `needs`."""
    if learned is None:
        raise LookupError("a check asked for what no check before it has found")
    return learned
