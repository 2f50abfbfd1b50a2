"""The GPUs: which there are, how much of them is free, and whether torch sees them too."""

from __future__ import annotations

from deploy.doctor.context import Context, known
from deploy.doctor.findings import Check, Finding, fail, ok, warn
from pipeline.metrics.gpu import Gpu, gpus

DRIVER = "nvidia-smi shows what the driver sees; without it, install the driver, or start the container with --gpus all"
BUSY = 0.5
"""Share of a GPU's memory that somebody else may hold before it is worth a word."""


def _devices(context: Context) -> Finding:
    found, wanted = gpus(), context.settings.device
    if not found:
        if wanted.startswith("cuda"):
            return fail(f"--device {wanted}, but there is no GPU here", f"export CIRROSTREAM_DEVICE=auto; or: {DRIVER}")
        return ok("none, as far as NVIDIA's driver knows: pages are embedded on the CPU, or on Apple's GPU")
    listed = "; ".join(map(_line, found))
    full = [gpu for gpu in found if gpu.memory_used and gpu.memory_size and gpu.memory_used > BUSY * gpu.memory_size]
    if full:
        return warn(
            f"{listed}; others hold most of GPU {full[0].index}'s memory",
            "nvidia-smi shows which process; give replicas another GPU with CUDA_VISIBLE_DEVICES",
        )
    return ok(listed)


def _line(gpu: Gpu) -> str:
    if gpu.memory_size is None or gpu.memory_used is None:
        return f"{gpu.index}: {gpu.name}"
    free = gpu.memory_size - gpu.memory_used
    return f"{gpu.index}: {gpu.name}, {free / 2**30:.1f} of {gpu.memory_size / 2**30:.1f} GiB free"


def _torch(context: Context) -> Finding:
    """A build of torch without CUDA, or for a newer driver, embeds on the CPU and says nothing."""
    trial, found = known(context.trial), gpus()
    if not found:
        return ok(f"no GPU to use; torch is built for {'CUDA ' + trial.cuda_build if trial.cuda_build else 'the CPU'}")
    if trial.cuda_devices >= len(found):
        return ok(f"torch uses {trial.cuda_devices} through CUDA {trial.cuda_build}")
    if not trial.cuda_build:
        return fail("there is a GPU, but this torch is built for the CPU alone", "pip install --force-reinstall torch")
    return fail(
        f"the driver shows {len(found)} GPUs, torch (CUDA {trial.cuda_build}) sees {trial.cuda_devices}",
        f"update the driver to one for CUDA {trial.cuda_build}, or install a torch for the driver's CUDA",
    )


CHECKS = (
    Check("gpu.devices", _devices, DRIVER),
    Check("gpu.torch", _torch, DRIVER, ("gpu.devices", "model.embedding")),
)
