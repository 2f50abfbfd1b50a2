"""Loads the model and embeds one sentence, in a process of its own: `python -m deploy.doctor.trial`.

A model that is too large for the memory, or that crashes the device's driver, takes its process with it; here that is a
finding and not the end of the examination.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass

from pipeline.errors import CirrostreamError, is_fault, one_line
from pipeline.settings import DType, ModelSettings
from pipeline.terminal import write_json

SENTENCE = "The lighthouse keeper wrote down the weather of every day."


class TrialSettings(ModelSettings):
    """Settings that the trial reads from its environment; `deploy.doctor` gives it its own."""

    device: str = "auto"
    dtype: DType = "auto"


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome of a model's trial."""

    device: str = ""
    dtype: str = ""
    dimension: int = 0
    norm: float = 0.0
    finite: bool = False
    cuda_devices: int = 0
    """GPUs that torch sees."""
    cuda_build: str = ""
    """Version of CUDA that torch was built for; empty for a build that knows no GPU."""
    problem: str = ""
    """Why there is no vector."""


def run_trial(settings: TrialSettings) -> Trial:
    """The trial, here and now; loads torch."""
    import numpy as np
    import torch

    from consumers.embedder import Embedder
    from consumers.tokens import load_tokenizer
    from pipeline.model_files import resolve

    files = resolve(settings, weights=True)
    embedder = Embedder.load(files, device=settings.device, dtype=settings.dtype)
    words = load_tokenizer(files).encode(SENTENCE, add_special_tokens=False).ids
    framed = embedder.encoder.framed(np.asarray(words[: max(1, files.max_tokens - 8)], dtype=np.int64))
    vector = embedder.encoder.encode([framed])[0].cpu().double().numpy()
    return Trial(
        device=embedder.device_name,
        dtype=embedder.dtype,
        dimension=embedder.dimension,
        norm=float(np.linalg.norm(vector)),
        finite=bool(np.isfinite(vector).all()),
        cuda_devices=torch.cuda.device_count(),
        cuda_build=str(torch.version.cuda or ""),
    )


def trial_elsewhere(environment: dict[str, str], limit_s: float) -> Trial:
    """The same in a child process that is ended after `limit_s`."""
    command = [sys.executable, "-m", "deploy.doctor.trial"]
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Trial(problem=f"it has not embedded a sentence within {limit_s:.0f} s")
    answers = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if answers:
        return Trial(**json.loads(answers[-1]))
    said = [line for line in done.stderr.splitlines() if line.strip()]
    reason = f"; {said[-1][:300]}" if said else ""
    killed = " (out of memory?)" if done.returncode in (-9, 137) else ""
    return Trial(problem=f"the process that loaded it ended with {done.returncode}{killed}{reason}")


def _main() -> None:
    try:
        trial = run_trial(TrialSettings())
    except CirrostreamError as error:
        trial = Trial(problem=str(error))
    except BaseException as error:  # whatever it is, it is the finding
        if not is_fault(error):
            raise
        trial = Trial(problem=one_line(error))
    write_json(json.dumps(asdict(trial)))
    os._exit(0)  # a driver that crashes when it is unloaded has nothing to tell any more


if __name__ == "__main__":
    _main()
