"""What the GPUs cost at the rate of now: for a million chunks, and to finish."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """In the currency of the price; None is what cannot be told without GPUs or without a rate."""

    kind: str
    """`on demand` or `spot`."""
    gpu_hour_price: float
    gpu_replicas: int
    per_million_chunks: float | None
    to_finish: float | None


def cost(
    kind: str, gpu_hour_price: float, gpu_replicas: int, chunks_per_second: float, seconds_left: float | None
) -> Cost:
    """The cost of `gpu_replicas` GPUs that together embed so many chunks a second."""
    an_hour = gpu_hour_price * gpu_replicas
    known = gpu_replicas > 0 and chunks_per_second > 0
    return Cost(
        kind=kind,
        gpu_hour_price=gpu_hour_price,
        gpu_replicas=gpu_replicas,
        per_million_chunks=an_hour / (chunks_per_second * 3600) * 1e6 if known else None,
        to_finish=an_hour * seconds_left / 3600 if gpu_replicas and seconds_left is not None else None,
    )
