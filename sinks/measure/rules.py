"""The number of the rules that a table was measured by, and what a measurement is to reach."""

from __future__ import annotations

from sinks import derived

RULES = f"{derived.RULES}.1"
"""Of the derived columns, then of the questions, weights and parameters: raised whenever one of these changes."""

TARGET_RECALL = 0.95
"""Recall@10 of the vector index."""
