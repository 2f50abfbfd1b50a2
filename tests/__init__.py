"""Tests: `unit` without a broker, `contract` for what several keep, `broker` with a real one, `faults` with kills."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The repository."""
