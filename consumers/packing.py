"""Packs token sequences of all lengths into batches that waste little padding. Pure; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """Bounds one batch of a device: at most `tokens` padded tokens and `rows` sequences.

    Padding counts: a batch of one 512-token and 31 8-token sequences costs 32 x 512. A sequence longer than
    `tokens` still goes, alone.
    """

    tokens: int = 16_384
    rows: int = 512

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.rows < 1:
            raise ValueError(f"a budget of {self.tokens} tokens and {self.rows} rows has no room for anything")

    def rows_of(self, length: int) -> int:
        """The number of sequences of this length that make one batch; at least one."""
        return max(1, min(self.rows, self.tokens // max(1, length)))


class ElasticBudget:
    """A budget that gives way when the device's memory does, and comes back when it lasts.

    Memory can be short for a moment only (another process on the same GPU): after `CALM` batches without trouble
    the budget doubles again, up to what was wanted.
    """

    CALM = 500

    def __init__(self, wanted: TokenBudget) -> None:
        self.wanted = wanted
        self.now = wanted
        self.longest = 0
        """Tokens of the longest sequence that ever fitted."""
        self._calm = 0

    def shrink(self, tokens: int, rows: int) -> None:
        """Halves what has just failed: `rows` sequences of `tokens` padded tokens in all."""
        self.now = TokenBudget(max(1, min(tokens, self.now.tokens) // 2), max(1, min(rows, self.now.rows)))
        self._calm = 0

    def succeeded(self, longest: int) -> None:
        """One more batch fitted; `longest`: the tokens of its longest sequence."""
        self.longest = max(self.longest, longest)
        self._calm += 1
        if self._calm >= self.CALM and self.now != self.wanted:
            self.now = TokenBudget(
                min(self.wanted.tokens, self.now.tokens * 2), min(self.wanted.rows, self.now.rows * 2)
            )
            self._calm = 0


def pack(lengths: Ids, budget: TokenBudget) -> list[Ids]:
    """Groups of positions into `lengths`, each within `budget`, the longest sequences first.

    Neighbours in length share a group, so its padding is small. Longest first finds out at once whether the memory
    suffices, and lets the allocator serve every later group from blocks it already has. Ties keep their order:
    the same input gives the same groups.
    """
    order = np.argsort(-lengths, kind="stable")
    groups = []
    at = 0
    while at < len(order):
        count = budget.rows_of(int(lengths[order[at]]))
        groups.append(order[at : at + count])
        at += count
    return groups


def pad(rows: Sequence[Ids], pad_id: int) -> tuple[Ids, Ids]:
    """Rows of ids as one array of shape (rows, longest), filled up on the right with `pad_id`; and their lengths.

    The fill must be the model's own pad id, not 0: RoBERTa and its kin derive positions from it.
    """
    lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
    padded = np.full((len(rows), int(lengths.max(initial=0))), pad_id, dtype=np.int64)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = np.concatenate(rows) if len(rows) else []
    return padded, lengths
