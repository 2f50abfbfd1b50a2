"""Tests: `unit` without a broker, `broker` against a real one, `faults` with kills; beside them what they share."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The repository."""
