"""The rate at which this machine will embed: measured by its last run, else a guess."""

from __future__ import annotations

from pathlib import Path

import msgspec

from deploy.local.report import RunReport
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


def last_rate(folder: Path, model: str) -> float | None:
    """Chunks a second that the embed stage made in the newest run that embedded a fair number with this model."""
    for path in sorted(folder.glob("run-*.json"), reverse=True):
        try:
            report = msgspec.json.decode(path.read_bytes(), type=RunReport)
        except (OSError, msgspec.DecodeError):
            continue
        embed = report.stages.get("embed")
        if report.model == model and embed is not None and embed.chunks >= 500 and report.seconds > 0:
            return embed.chunks / report.seconds
    return None
