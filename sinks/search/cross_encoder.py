"""A cross-encoder as reranker: a model that reads question and text together, slower and better than comparing vectors.

Off unless asked for. From safetensors alone, and no code of the model's is run, as for every model here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import CirrostreamError, Fatal, TryAgain, UsageError, faults_as
from pipeline.model_files import find

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

BATCH = 8
"""Texts that are read at once. Between two batches it sees whether anybody still waits."""


def find_reranker(name: str) -> Path:
    """The folder with a reranker's files: `name` is a folder or a model on the hub.

    Raises:
        UsageError: there is no such model, or its weights are no safetensors.
        TryAgain: the hub cannot be reached.
        Fatal: the disk is full.
    """
    try:
        path, _, _ = find(name, None, weights=True)
    except CirrostreamError as error:
        raise type(error)(str(error).replace("--model ", "--rerank ", 1)) from None
    return path


@dataclass(frozen=True, slots=True)
class CrossEncoderReranker:
    """The model, loaded. Answers one thread at a time."""

    model: CrossEncoder
    name: str
    _one: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def load(cls, folder: Path, name: str, device: str = "auto") -> CrossEncoderReranker:
        """Takes seconds.

        Raises:
            UsageError: it cannot be loaded, or gives more than one score a text.
        """
        import torch

        from pipeline.model_loading import load_cross_encoder

        with faults_as(UsageError, f"cannot load the reranker {name} on --device {device}"):
            model = load_cross_encoder(folder, None if device == "auto" else device, torch.float32)
        if model.num_labels != 1:
            raise UsageError(f"--rerank {name}: gives {model.num_labels} numbers a text, a reranker gives one")
        return cls(model, name)

    def scores(self, question: str, texts: Sequence[str], late: float | None = None) -> NDArray[np.float32]:
        """The fitness of each text as an answer, of shape (len(texts),); more is better.

        Args:
            late: `time.perf_counter()` after which nobody waits any more; no further batch is begun then.

        Raises:
            TryAgain: it was late.
            Fatal: the model fails on these texts.
        """
        found: list[NDArray[np.float32]] = []
        with self._one:
            for start in range(0, len(texts), BATCH):
                if late is not None and time.perf_counter() >= late:
                    raise TryAgain(f"the reranker {self.name} was late")
                found.append(self._batch([(question, text) for text in texts[start : start + BATCH]]))
        return np.concatenate(found) if found else np.empty(0, np.float32)

    def _batch(self, pairs: list[tuple[str, str]]) -> NDArray[np.float32]:
        with faults_as(Fatal, f"the reranker {self.name} fails on these texts"):
            made = self.model.predict(pairs, batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True)
        scores: NDArray[np.float32] = np.asarray(made, np.float32).reshape(-1)
        if scores.shape != (len(pairs),) or not np.isfinite(scores).all():
            raise Fatal(f"the reranker {self.name} gives no usable scores")
        return scores
