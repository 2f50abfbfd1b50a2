"""Upkeep: what keeps a table fast, small and found, done by its writer between two batches.

Never in another process: a compaction next to merges that touch the same rows failed 16 of 16 times. Every step reads
the fence first. A step that fails is tried again later, for nothing depends on it; only a full disk is fatal.
"""

from __future__ import annotations

from sinks.upkeep.leftovers import stale_temporary_files
from sinks.upkeep.rules import IDLE_S, KEEP_VERSIONS, RETRY_S, TMP_AGE_S, State, UpkeepRules, UpkeepStep, all_due, due
from sinks.upkeep.steps import TAG_REMEDY, fragments
from sinks.upkeep.turns import Upkeep

__all__ = [
    "IDLE_S",
    "KEEP_VERSIONS",
    "RETRY_S",
    "TAG_REMEDY",
    "TMP_AGE_S",
    "State",
    "Upkeep",
    "UpkeepRules",
    "UpkeepStep",
    "all_due",
    "due",
    "fragments",
    "stale_temporary_files",
]
