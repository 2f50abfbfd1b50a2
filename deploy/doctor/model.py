"""The model: found, allowed, small enough, and able to embed a sentence on the device that was chosen."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from deploy.doctor.context import Context, known
from deploy.doctor.findings import Check, Finding, fail, in_bytes, ok, skip, warn
from deploy.doctor.trial import trial_elsewhere
from pipeline.errors import TryAgain, UsageError
from pipeline.model_files import WEIGHTS, ModelFiles, resolve
from sinks.rows import MAX_OFF_NORM

TRIAL_S = 240.0
RUNTIME_BYTES = 1_200_000_000
"""Memory of a replica besides its weights: torch, a batch, its activations (MiniLM on a CPU: 1.2 GB at its peak)."""
CGROUP = Path("/sys/fs/cgroup")


def _files(context: Context) -> Finding:
    settings = context.settings
    try:
        context.model = files = resolve(settings, weights=False)
    except UsageError as error:
        return fail(str(error), _remedy(str(error), settings.model))
    except TryAgain as error:
        return fail(str(error), f"hf download {settings.model}, where there is a network; or: export HF_HUB_OFFLINE=0")
    if files.notices:
        return warn("; ".join(files.notices), "correct the model's files, or export CIRROSTREAM_MODEL=another")
    dimension = files.dimension or "unknown"
    return ok(
        f"{files.name}: {dimension} dimensions, {files.max_tokens} tokens at most, {_prompts(files)}; topics end with "
        f"{files.tag}"
    )


def _prompts(files: ModelFiles) -> str:
    if not files.query_prompt and not files.document_prompt:
        return "no prompts"
    return f"prompts {files.query_prompt!r} for questions and {files.document_prompt!r} for documents"


def _remedy(problem: str, model: str) -> str:
    if "gated" in problem:
        return f"accept the terms at https://huggingface.co/{model}, then: {_token_command()}"
    if "HF_TOKEN" in problem:
        return f"correct CIRROSTREAM_MODEL; for a private model: {_token_command()}"
    return "correct CIRROSTREAM_MODEL: a sentence-transformers model's folder, or its name on the hub"


def _token_command() -> str:
    return "export HF_TOKEN=hf_… (of an account that has access)"


def _token(context: Context) -> Finding:
    """Says that there is one, never what it is."""
    folder = Path(context.settings.model).expanduser()
    if folder.is_dir():
        return ok("not needed: the model is a folder on this machine")
    from huggingface_hub import get_token

    if os.environ.get("HF_TOKEN"):
        return ok("HF_TOKEN is set")
    return ok("a token is saved on this machine" if get_token() else "none; only gated and private models need one")


def _weights(context: Context) -> Finding:
    files = known(context.model)
    weights = list(files.path.rglob(WEIGHTS))
    if weights:
        return ok(f"{in_bytes(weight_bytes(files))} of safetensors")
    if files.path.name == files.revision:
        return warn(
            "not downloaded yet; every machine does it at its first start",
            f"hf download {files.name} --revision {files.revision}",
        )
    return fail(
        f"{files.path}: no *.safetensors weights; other formats are not read, because they can run code",
        f"copy the model's *.safetensors to {files.path}, or: export CIRROSTREAM_MODEL=another",
    )


def weight_bytes(files: ModelFiles) -> int:
    """Size of the weights on disk."""
    return sum(path.stat().st_size for path in files.path.rglob(WEIGHTS))


def _memory(context: Context) -> Finding:
    """`dtype=auto` holds the model twice while it compares precisions, in fp32 the first time."""
    size = weight_bytes(known(context.model))
    needed = RUNTIME_BYTES + size * (2 if context.settings.dtype == "auto" else 1)
    there = min(psutil.virtual_memory().available, _container_room())
    if there < needed:
        return fail(
            f"{in_bytes(there)} of memory are free, a replica of the embed stage wants about {in_bytes(needed)}",
            "close what is large, raise the container's memory limit, or: export CIRROSTREAM_DTYPE=fp32",
        )
    return ok(f"{in_bytes(there)} of memory are free, a replica of the embed stage wants about {in_bytes(needed)}")


def _container_room() -> int:
    """Bytes that the container (control group, version 2) may still take; without a limit, far more than there is."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return 1 << 62
    return int(limit) - used if limit.isdigit() else 1 << 62


def _embedding(context: Context) -> Finding:
    files, settings = known(context.model), context.settings
    if not list(files.path.rglob(WEIGHTS)):
        return skip("its weights are not on this machine")
    context.trial = trial = trial_elsewhere(_environment(context), TRIAL_S)
    if trial.problem:
        return fail(trial.problem, _trial_remedy(trial.problem, settings.device))
    if not trial.finite or trial.norm == 0:
        return fail(f"one sentence becomes no usable vector in {trial.dtype}", "export CIRROSTREAM_DTYPE=fp32")
    if files.normalized and abs(trial.norm - 1) > MAX_OFF_NORM:
        return fail(f"one vector has norm {trial.norm:.4f}, the model promises 1", "export CIRROSTREAM_DTYPE=fp32")
    return ok(f"one sentence on {trial.device} in {trial.dtype}: {trial.dimension} dimensions, norm {trial.norm:.4f}")


def _environment(context: Context) -> dict[str, str]:
    settings = context.settings
    names = ("data_dir", "model", "revision", "unit", "window_tokens", "overlap_tokens", "device", "dtype")
    chosen = {name: getattr(settings, name) for name in names}
    ours = {f"CIRROSTREAM_{name}".upper(): str(value) for name, value in chosen.items() if value is not None}
    return {**os.environ, **ours}


def _trial_remedy(problem: str, device: str) -> str:
    if "device" in problem and device != "auto":
        return "export CIRROSTREAM_DEVICE=auto"
    if "memory" in problem:
        return "close what is large, or choose a smaller model"
    return "correct CIRROSTREAM_MODEL: its folder is damaged, or the model is of a kind that does not work here"


AGAIN = "CIRROSTREAM_LOG_LEVEL=DEBUG python -m deploy.doctor --only model"
CHECKS = (
    Check("model.token", _token, AGAIN),
    Check("model.files", _files, AGAIN, limit_s=120),
    Check("model.weights", _weights, AGAIN, ("model.files",)),
    Check("model.memory", _memory, AGAIN, ("model.files", "model.weights")),
    Check("model.embedding", _embedding, AGAIN, ("model.weights",), limit_s=TRIAL_S + 10),
)
