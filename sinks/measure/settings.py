"""Settings of a measurement, for who starts one and for the process that does it."""

from __future__ import annotations

from pydantic import Field

from pipeline.cores import usable_memory
from pipeline.settings import MIB, ModelSettings, Settings, TableSettings

MOST_MEMORY = 4_096 * MIB


class MeasureLimits(Settings):
    """Bounds of one measurement."""

    measure_seconds: float = Field(
        900, ge=1, le=86_400, description="Longest time for one measurement; what it had no time for is left out."
    )
    measure_mib: int | None = Field(
        None, ge=256, description="MiB for the process that measures; unset: half of the memory, 4,096 at most."
    )

    @property
    def measure_bytes(self) -> int:
        """Bytes that the process may allocate."""
        return self.measure_mib * MIB if self.measure_mib else min(MOST_MEMORY, usable_memory() // 2)


class MeasureSettings(ModelSettings, TableSettings, MeasureLimits):
    """Table, model, and what a measurement may cost."""
