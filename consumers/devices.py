"""Which device computes, and how it says that its memory is full."""

from __future__ import annotations

import torch

from pipeline.errors import UsageError


def choose_device(wanted: str) -> torch.device:
    """The device of this name; `auto`: CUDA before MPS before the CPU."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = None
    if device is None or not available.get(device.type):
        there = ", ".join(name for name, is_there in available.items() if is_there)
        raise UsageError(f"no device {wanted!r} here; there is {there}")
    return device


def out_of_memory(error: Exception) -> bool:
    """Whether this is the device's memory: CUDA has a class for it, the CPU's allocator and MPS only words."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in str(error) for words in ("can't allocate memory", "not enough memory", "out of memory")
    )
