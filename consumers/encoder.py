"""A sentence-transformers model that takes token ids: loading it, and one forward pass.

Tokenising happened upstream, in the chunk stage; what is used here is the model's modules (transformer, pooling, dense,
normalisation), in the order that the model's own files say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from consumers.devices import DeviceBroke, Trouble, trouble
from consumers.packing import Ids, pad
from pipeline.errors import CirrostreamError, TryAgain, UsageError, is_fault, one_line
from pipeline.model_files import ModelFiles
from pipeline.model_loading import load_model

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Encoder:
    """A loaded model on its device. `encode` is all it does; bounds, retries and order are its caller's."""

    model: SentenceTransformer
    device: torch.device
    dtype: torch.dtype
    pad_id: int
    vocabulary: int
    """Ids from here on have no embedding; on CUDA one of them would end the process' whole context."""
    frame: tuple[Ids, Ids]
    """The special tokens that stand before and after every text."""
    constants: dict[str, int]
    """Further features that this model's modules need, the same for every row."""
    token_types: bool
    dimension: int | None = None
    """Where the model cuts its vectors (Matryoshka); None: it does not."""

    @classmethod
    def load(cls, files: ModelFiles, device: torch.device, dtype: torch.dtype) -> Encoder:
        """The model of `files`, from the local folder alone: no hub, no code of the model's, no pickled weights.

        The transformer computes in `dtype`; pooling, dense layers and normalisation always in fp32, because a
        vector normalised in bf16 has a norm that is off by up to 0.4 %. Raises whatever the libraries raise: see
        `loading`.
        """
        os.environ["HF_HUB_OFFLINE"] = "1"  # read at import; without it, a local folder still costs requests to the hub
        return cls._of(load_model(files.path, device, dtype), files, device, dtype)

    @classmethod
    def _of(cls, model: SentenceTransformer, files: ModelFiles, device: torch.device, dtype: torch.dtype) -> Encoder:
        table = _word_embeddings(model, files)
        model[0].register_forward_hook(_to_fp32)
        tokenizer: Any = model.tokenizer
        vocabulary, frame = int(table.shape[0]), _frame(tokenizer)
        if (largest := max((int(part.max(initial=0)) for part in frame), default=0)) >= vocabulary:
            raise UsageError(f"{files.name}: its tokenizer has id {largest} in every text, it knows {vocabulary} ids")
        return cls(
            model=model,
            device=device,
            dtype=dtype,
            pad_id=_pad_id(tokenizer, model, vocabulary),
            vocabulary=vocabulary,
            frame=frame,
            constants=_constants(model, files),
            token_types="token_type_ids" in tokenizer.model_input_names,
            dimension=model.truncate_dim,
        )

    def framed(self, words: Ids) -> Ids:
        """These word ids as a text of this model: between its special tokens."""
        before, after = self.frame
        return np.concatenate([before, words, after])

    def encode(self, rows: Sequence[Ids]) -> torch.Tensor:
        """Vectors of shape (len(rows), dimension), fp32, on the device and perhaps still being computed there.

        Nothing here waits for the device: while it works, the caller prepares the next rows.
        """
        padded, lengths = pad(rows, self.pad_id)
        ids = self._send(torch.from_numpy(padded))
        positions = torch.arange(padded.shape[1], device=self.device)
        features: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": (positions < self._send(torch.from_numpy(lengths))[:, None]).long(),
            **self.constants,
        }
        if self.token_types:
            features["token_type_ids"] = torch.zeros_like(ids)
        with torch.inference_mode():
            vectors: torch.Tensor = self.model(features)["sentence_embedding"]
            return vectors[:, : self.dimension].float()

    def _send(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.device.type != "cuda":
            return tensor.to(self.device)
        # Only a copy from pinned memory is asynchronous; `non_blocking` alone is silently ignored.
        return tensor.pin_memory().to(self.device, non_blocking=True)


def _to_fp32(_module: torch.nn.Module, _input: object, features: dict[str, Any]) -> dict[str, Any]:
    features["token_embeddings"] = features["token_embeddings"].float()
    return features


def _word_embeddings(model: SentenceTransformer, files: ModelFiles) -> torch.Tensor:
    """The table that ids index, which also tells whether the first module is a transformer at all."""
    inner = getattr(model[0], "auto_model", None)
    if inner is None:
        raise UsageError(f"{files.name} starts with {type(model[0]).__name__}; only transformers take token ids")
    weight: torch.Tensor = inner.get_input_embeddings().weight
    return weight


def _pad_id(tokenizer: Any, model: SentenceTransformer, vocabulary: int) -> int:
    """The id that fills up short rows, which attention never sees; RoBERTa's kin count positions by it.

    A padding token that was added to the tokenizer alone has an id that the network does not know.
    """
    config: Any = getattr(model[0], "auto_model").config  # noqa: B009 - torch's modules type attributes as tensors
    wanted = (tokenizer.pad_token_id, getattr(config, "pad_token_id", None))
    return next((pad for pad in wanted if isinstance(pad, int) and 0 <= pad < vocabulary), 0)


def _frame(tokenizer: Any) -> tuple[Ids, Ids]:
    empty = np.asarray(tokenizer("")["input_ids"], dtype=np.int64)
    return empty[:-1], empty[-1:]


def _constants(model: SentenceTransformer, files: ModelFiles) -> dict[str, int]:
    """`prompt_length` for models whose pooling leaves the prompt out (INSTRUCTOR); nothing for all others."""
    if not files.document_prompt or all(getattr(module, "include_prompt", True) for module in model):
        return {}
    tokenizer: Any = model.tokenizer
    return {"prompt_length": len(tokenizer(files.document_prompt)["input_ids"]) - len(_frame(tokenizer)[1])}


@contextmanager
def loading(files: ModelFiles, device: torch.device) -> Iterator[None]:
    """Says what went wrong while a model was loaded or made its first passes: any class of error, Rust panics too.

    Raises:
        TryAgain: there was no memory for it, or the device broke.
        UsageError: the folder has no model that can be used here.
    """
    try:
        yield
    except CirrostreamError:
        raise
    except BaseException as error:
        if not is_fault(error):
            raise
        line = one_line(error)
        kind = trouble(error, device)
        if kind is Trouble.MEMORY:
            raise TryAgain(
                f"no memory on {device} for the model {files.name} ({line}): end what else is there, choose a smaller "
                "model, or --dtype bf16, which takes half"
            ) from error
        if kind is Trouble.DEVICE:
            raise DeviceBroke(f"the device {device} broke while it got the model {files.name}: {line}") from error
        raise UsageError(f"cannot load the model {files.name} from {files.path}: {line}") from error
