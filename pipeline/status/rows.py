"""The words that every view of a pipeline uses for its stages."""

from __future__ import annotations

from pipeline.lag.rates import eta, per_second

NAMES = {
    "produce": "read",
    "live": "read live",
    "mediawiki": "read",
    "chunk": "chunk",
    "embed": "embed",
    "lance": "store",
}


def pages_words(pages: int) -> str:
    """What the producers have done, in a line of a log."""
    return f"read {pages:,} pages"


def stage_words(stage: str, done: int, rate: float, lag: int, eta_s: float | None) -> str:
    """A stage in a line of a log."""
    return f"{NAMES.get(stage, stage)} {done:,} done {per_second(rate)} lag {lag:,} ETA {eta(eta_s)}"
