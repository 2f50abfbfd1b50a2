"""Counts what the device was given, for the metrics and the benchmarks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class DeviceBatch(NamedTuple):
    """One pass of the device."""

    tokens: int
    padded_tokens: int
    """The device's work: `tokens` and the padding between them."""


@dataclass(slots=True)
class Stats:
    """Work done since they were last taken."""

    device_batches: list[DeviceBatch] = field(default_factory=list)
    out_of_memory: int = 0
    pack_seconds: float = 0.0
    """For token ids and groups, before the device had anything to do."""

    @property
    def batches(self) -> int:
        return len(self.device_batches)

    @property
    def tokens(self) -> int:
        return sum(batch.tokens for batch in self.device_batches)

    @property
    def padded_tokens(self) -> int:
        return sum(batch.padded_tokens for batch in self.device_batches)
