"""What a device's errors mean, on the texts that back ends really write; each with the public report it stands in."""

from __future__ import annotations

import errno

import pytest
import torch

from consumers import devices
from consumers.devices import Trouble, computes, memory_of_others, trouble

CPU = torch.device("cpu")

MEMORY = {
    "libc10_cuda.so of torch 2.15": "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of",
    "deepbeepmeep/Wan2GP/issues/1083": "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
    "libtorch_cuda.so of torch 2.15": "CUDA ran out of memory outside PyTorch's allocator. If this workload uses many",
    "QwenLM/Qwen3/issues/873": "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "EleutherAI/lm-evaluation-harness/issues/1689": (
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"
    ),
    "pytorch/pytorch/issues/20123": "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "libtorch_cuda.so": "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
    "ROCm/TheRock/issues/1708": "CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`",
    "kyuz0/amd-strix-halo-image-video-toolboxes/issues/3": "HIP out of memory. Tried to allocate 3.31 GiB. GPU 0 has",
    "datalab-to/surya/issues/254": (
        "MPS backend out of memory (MPS allocated: 7.23 GB, other allocations: 1.54 GB, max allowed: 9.07 GB)."
    ),
    "pytorch/pytorch/issues/141909": "Invalid buffer size: 19.45 GB",
    "intel/torch-xpu-ops/issues/1324": "XPU out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total capacity of",
    "intel/torch-xpu-ops/issues/1170": "UR backend failed. UR backend returns:40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)",
    "pytorch/pytorch/issues/177714": "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
    "mxfold/mxfold2/issues/20": (
        "[enforce fail at alloc_cpu.cpp:75] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 132426121216 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "huggingface/diffusers/issues/787": (
        "[enforce fail at alloc_cpu.cpp:81] data. DefaultCPUAllocator: not enough memory: you tried to allocate "
        "1073741824 bytes."
    ),
    "pytorch/pytorch/issues/31302": "[enforce fail at CPUAllocator.cpp:56] posix_memalign(&data, gAlignment",
    "pytorch/pytorch/issues/70237": "std::bad_alloc",
    "what() of std::bad_alloc in Microsoft's library": "bad allocation",
    "vllm-project/vllm/issues/2391": (
        "unable to mmap 18329065000 bytes from file <model.safetensors>: Cannot allocate memory (12)"
    ),
}

DEVICE = {
    "pytorch/pytorch/issues/190972": "level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)",
    "evo-design/evo/issues/136": "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be",
    "cudaErrorAssert": "CUDA error: device-side assert triggered",
    "cudaErrorECCUncorrectable": "CUDA error: uncorrectable ECC error encountered",
}

INPUT = {
    "a kernel that a type lacks": "\"addmm_impl_cpu_\" not implemented for 'Half'",
    "a shape": "The size of tensor a (513) must match the size of tensor b (512) at non-singleton dimension 1",
    "a table that is too short": "index out of range in self",
    "cudaErrorInvalidConfiguration": "CUDA error: invalid configuration argument",
    "CUBLAS_STATUS_INVALID_VALUE": "CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm( handle, opa)`",
}


@pytest.mark.parametrize(("source", "text"), MEMORY.items(), ids=list(MEMORY))
def test_a_full_memory_is_told_by_its_words(source: str, text: str) -> None:
    for kind in (RuntimeError, torch.AcceleratorError):
        assert trouble(kind(text), CPU) is Trouble.MEMORY, source


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("x"), OSError(errno.ENOMEM, "no memory")])
def test_a_full_memory_is_told_by_its_class(error: Exception) -> None:
    assert trouble(error, CPU) is Trouble.MEMORY


@pytest.mark.parametrize(("source", "text"), DEVICE.items(), ids=list(DEVICE))
def test_a_lost_device_is_told_by_its_words(source: str, text: str) -> None:
    assert trouble(RuntimeError(text), CPU) is Trouble.DEVICE, source


@pytest.mark.parametrize(("source", "text"), INPUT.items(), ids=list(INPUT))
def test_an_error_of_the_call_alone_is_the_inputs(source: str, text: str) -> None:
    assert trouble(RuntimeError(text), CPU) is Trouble.INPUT, source


def test_an_error_after_which_the_device_computes_nothing_is_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert computes(CPU)
    for said, works in (("CUDA error: unspecified launch failure", False), ("CUDA out of memory", True)):

        def broken(*_: object, said: str = said, **__: object) -> torch.Tensor:
            raise RuntimeError(said)

        monkeypatch.setattr(devices.torch, "ones", broken)
        assert computes(CPU) is works
    monkeypatch.setattr(devices, "computes", lambda _: False)
    assert trouble(RuntimeError("CUDA error: unspecified launch failure"), CPU) is Trouble.DEVICE


def test_the_memory_of_others_is_what_neither_torch_nor_the_context_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    gib = 1 << 30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5 * gib, 80 * gib))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 20 * gib)
    assert memory_of_others(torch.device("cuda")) == 54 * gib
    assert memory_of_others(CPU) == 0
