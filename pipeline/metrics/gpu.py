"""The GPUs that this process may use, by NVIDIA's driver; nothing at all where there is no driver.

NVML numbers the GPUs of the host by their place on the bus and knows nothing of `CUDA_VISIBLE_DEVICES`, so that is
applied here. CUDA itself sorts by speed unless `CUDA_DEVICE_ORDER=PCI_BUS_ID`: on a host with unlike GPUs only a UUID
says the same to both, and a process that knows its GPU's asks for that.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.metrics.at_scrape import Measured


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU now. A value that its driver does not tell (on a share of a GPU: nearly all) is None."""

    index: int
    """Of the host's, in the order of the bus, as `nvidia-smi` says it."""
    uuid: str
    name: str
    memory_used: int | None
    """Bytes."""
    memory_size: int | None
    utilization: float | None
    """Share of the last second in which a kernel ran, 0 to 1."""
    celsius: float | None


def gpus(uuids: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> list[Gpu]:
    """The GPUs with these UUIDs, or all that this process may see; none where there is no driver.

    May hang when the driver does: `pipeline.metrics.at_scrape` waits for it in a thread.
    """
    import pynvml

    try:
        pynvml.nvmlInit()  # never shut down: only the first call takes time, and a scrape comes every few seconds
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return []
    found = [gpu for index in range(count) if (gpu := _read(pynvml, index)) is not None]
    if uuids is not None:
        return [gpu for gpu in found if gpu.uuid in uuids]
    return visible(found, environment.get("CUDA_VISIBLE_DEVICES"))


def chosen_devices(chosen: str) -> list[str]:
    """The entries of `CUDA_VISIBLE_DEVICES`; as the driver does it, none after an empty one or -1."""
    entries = [entry.strip() for entry in chosen.split(",")]
    return list(itertools.takewhile(lambda entry: entry not in ("", "-1"), entries))


def visible(found: Sequence[Gpu], chosen: str | None) -> list[Gpu]:
    """Those that `CUDA_VISIBLE_DEVICES` leaves, in its order; what follows an entry that fits none counts nothing.

    Its entries are indexes or beginnings of UUIDs, https://docs.nvidia.com/cuda/cuda-c-programming-guide.
    """
    if chosen is None:
        return list(found)
    left: list[Gpu] = []
    for entry in chosen_devices(chosen):
        fitting = [
            gpu for gpu in found if str(gpu.index) == entry or (entry.startswith("GPU-") and gpu.uuid.startswith(entry))
        ]
        if len(fitting) != 1:
            break
        left += fitting
    return left


def measure(uuids: Sequence[str] | None = None) -> Iterable[Measured]:
    """The gauges of `gpus`, for a scrape."""
    for gpu in gpus(uuids):
        values = {
            "memory_used_bytes": gpu.memory_used,
            "memory_size_bytes": gpu.memory_size,
            "utilization_ratio": gpu.utilization,
            "temperature_celsius": gpu.celsius,
        }
        for name, value in values.items():
            if value is not None:
                yield Measured(f"cirrostream_gpu_{name}", value, (str(gpu.index),))


def _read(nvml: Any, index: int) -> Gpu | None:
    """None for a GPU that this process may not ask, or that fell off its bus."""

    def told(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except nvml.NVMLError:
            return None

    handle = told(lambda: nvml.nvmlDeviceGetHandleByIndex(index))
    uuid = None if handle is None else told(lambda: nvml.nvmlDeviceGetUUID(handle))
    if uuid is None:
        return None
    memory = told(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    rates = told(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    return Gpu(
        index=index,
        uuid=_text(uuid),
        name=_text(told(lambda: nvml.nvmlDeviceGetName(handle)) or ""),
        memory_used=None if memory is None else int(memory.used),
        memory_size=None if memory is None else int(memory.total),
        utilization=None if rates is None else rates.gpu / 100,
        celsius=told(lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))),
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
