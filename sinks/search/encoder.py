"""The model, for questions."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Fatal, UsageError, faults_as
from pipeline.model_files import ModelFiles

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True, slots=True)
class QuestionEncoder:
    """The model, for questions: many models give them another prompt than documents."""

    model: SentenceTransformer
    prompt: str
    _one: threading.Lock = field(default_factory=threading.Lock)
    """Tokenizers are no use to two threads: theirs says `Already borrowed`."""

    @classmethod
    def load(cls, files: ModelFiles, device: str = "auto") -> QuestionEncoder:
        """Takes seconds, most of them for the import. In fp32 whatever the documents were embedded in.

        Raises:
            UsageError: the model cannot be loaded, or there is no such device.
        """
        import torch

        from pipeline.model_loading import load_model

        with faults_as(UsageError, f"cannot load the model {files.name} on --device {device}"):
            model = load_model(files.path, None if device == "auto" else device, torch.float32)
        model.max_seq_length = files.max_tokens  # the model's own may be more than it can place
        return cls(model, files.query_prompt)

    def encode(self, question: str) -> NDArray[np.float32]:
        """The question's vector, of shape (dimension,).

        Raises:
            Fatal: the model fails on it.
        """
        with faults_as(Fatal, "the model cannot embed this question"), self._one:
            vector: NDArray[np.float32] = self.model.encode_query(
                question, prompt=self.prompt, convert_to_numpy=True, show_progress_bar=False
            )
        return vector.astype(np.float32)
