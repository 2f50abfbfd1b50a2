"""Chooses the device, and tells its errors apart: its memory is full, it is broken, or the input is at fault."""

from __future__ import annotations

import errno
import re
from enum import Enum

import torch

from pipeline.errors import CirrostreamError, Exit, TryAgain, UsageError, one_line

OUT_OF_MEMORY = re.compile(
    r"out[ _]of[ _](device[ _]|host[ _])?memory|not enough memory|(can't|cannot|failed to|unable to) (allocate|mmap)"
    r"|_ALLOC_FAILED|BLAS_STATUS_NOT_INITIALIZED|CUDNN_STATUS_NOT_INITIALIZED|SOLVER_STATUS_NOT_INITIALIZED"
    r"|UR_RESULT_ERROR_OUT_OF_RESOURCES|bad[_ ]alloc|invalid buffer size|posix_memalign|ran out of memory",
    re.IGNORECASE,
)
"""Texts of back ends when there is no memory: few of them have a class for it (tests/unit/consumers/test_devices.py has
where each text comes from). Handles of cuBLAS and its kin are made at their first use; on a full device that fails, as
"not initialized" where the library does not know why."""

LOST = re.compile(r"DEVICE_LOST|device-side assert|illegal memory access|uncorrectable ECC|fallen off the bus", re.I)


class Trouble(Enum):
    """The meaning of an error of a pass."""

    MEMORY = "the memory is full"
    """Of the device or of the host: smaller batches, or a while, may help."""
    DEVICE = "the device is broken"
    """Every further call of this process fails as well; only another process can go on."""
    INPUT = "this input cannot be computed"


class DeviceBroke(TryAgain):
    """The device does not compute any more; what was in hand may be what broke it."""


class MemoryTaken(CirrostreamError):
    """Memory that this process had before is taken by others: what fitted on the device no longer does.

    Another try may find it free, but this is no `TryAgain`: those count against the record in hand, and no record is
    to blame here.
    """

    exit_code = Exit.TRY_AGAIN


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


def trouble(error: BaseException, device: torch.device) -> Trouble:
    """The meaning of this error of a computation on `device`.

    CUDA has errors after which every call fails, until the process is another one ("leaves the process in an
    inconsistent state", cudaError_t in NVIDIA's Runtime API), and errors of the call alone, in one class of torch's.
    So the device is asked to compute something else.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or OUT_OF_MEMORY.search(str(error)):
        return Trouble.MEMORY
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return Trouble.MEMORY
    if LOST.search(str(error)) or not computes(device):
        return Trouble.DEVICE
    return Trouble.INPUT


def computes(device: torch.device) -> bool:
    """True when the device adds two numbers; a full one may still."""
    try:
        return float(torch.ones(2, device=device).sum()) == 2.0
    except RuntimeError as error:
        return OUT_OF_MEMORY.search(str(error)) is not None


def release_memory(device: torch.device) -> None:
    """Gives back what torch keeps for later, to the driver and so to other processes.

    Raises:
        DeviceBroke: it cannot even do that.
    """
    try:
        if device.type == "cuda":
            torch.cuda.empty_cache()
        elif device.type == "mps":
            torch.mps.empty_cache()
    except RuntimeError as error:
        raise DeviceBroke(f"the device {device} broke: {one_line(error)}") from None


def memory_of_others(device: torch.device) -> int:
    """Bytes of the device's memory that other processes hold, at least; 0 where the device does not tell."""
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    return max(0, total - free - torch.cuda.memory_reserved(device) - CONTEXT_BYTES)


CONTEXT_BYTES = 1 << 30
"""Memory of this process' own CUDA context, kernels and library handles outside torch's allocator, at most."""
