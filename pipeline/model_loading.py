"""Loads models of sentence-transformers from local files alone: no hub, no code of a model's, no pickled weights.

Only a stage that runs a model imports this: torch takes 766 MB and seconds.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer

Device = torch.device | str | None


def load_model(folder: Path, device: Device, dtype: torch.dtype) -> SentenceTransformer:
    """The model in a folder, on a device (None: the first GPU, else the CPU). Raises whatever the libraries raise."""
    model: SentenceTransformer = _library().SentenceTransformer(str(folder), **_how(device, dtype))
    model.eval()
    return model


def load_cross_encoder(folder: Path, device: Device, dtype: torch.dtype) -> CrossEncoder:
    """The cross-encoder in a folder; as `load_model`."""
    model: CrossEncoder = _library().CrossEncoder(str(folder), **_how(device, dtype))
    return model


def _how(device: Device, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of every model: nothing is fetched, no code of others is run, no pickle is opened."""
    return {
        "device": None if device is None else str(device),
        "local_files_only": True,
        "trust_remote_code": False,
        # Transformers' own default is the precision of the file, which for many models is bf16.
        "model_kwargs": {"dtype": dtype, "use_safetensors": True},
    }


def _library() -> ModuleType:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # read at import
    import sentence_transformers
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return sentence_transformers
