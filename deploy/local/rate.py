"""The rate at which this machine will embed: measured by its last run, else a guess."""

from __future__ import annotations

from pathlib import Path

from deploy.local.report import last_rate
from deploy.local.stages import Machine

ROWS_PER_SECOND_A_CORE = 35.0
"""all-MiniLM-L6-v2 in fp32: 76 chunks of 128 tokens a second were measured on two cores with AMX."""

ROWS_PER_SECOND_A_GPU = 2_500.0
"""Published for sentence-transformers with a small model on one A100."""


def expected_rate(reports: Path, model: str, machine: Machine) -> tuple[float, str]:
    """Rows a second of all embedders together, and what that number rests on."""
    measured = last_rate(reports, model)
    if measured is not None:
        return measured, f"{measured:,.0f} rows/s, as in the last run here"
    if machine.gpus:
        rate = ROWS_PER_SECOND_A_GPU * len(machine.gpus)
        return rate, f"{rate:,.0f} rows/s on {len(machine.gpus)} GPU(s), not measured here"
    rate = ROWS_PER_SECOND_A_CORE * machine.cores
    return rate, f"{rate:,.0f} rows/s on {machine.cores} cores, not measured here"
