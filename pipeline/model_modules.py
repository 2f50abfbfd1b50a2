"""Reads what follows the transformer in a sentence-transformers model: pooling, dense layers, normalisation."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pipeline.errors import UsageError
from pipeline.model_json import parse_json, read_json

MODULES = frozenset({"Pooling", "Dense", "Normalize", "LayerNorm", "Dropout"}) | frozenset(
    {"WeightedLayerPooling", "WordWeights", "CNN", "LSTM"}
)
"""Modules that may follow the transformer: all that need nothing but its output."""


class Module(msgspec.Struct):
    """An entry of `modules.json`."""

    type: str
    path: str = ""

    @property
    def kind(self) -> str:
        return self.type.rsplit(".", 1)[-1]


class _Pooling(msgspec.Struct):
    embedding_dimension: int | None = None
    word_embedding_dimension: int | None = None
    pooling_mode: str | list[str] | None = None
    include_prompt: bool = True
    pooling_mode_cls_token: bool = False
    pooling_mode_max_tokens: bool = False
    pooling_mode_mean_tokens: bool = False
    pooling_mode_mean_sqrt_len_tokens: bool = False
    pooling_mode_weightedmean_tokens: bool = False
    pooling_mode_lasttoken: bool = False

    @property
    def dimension(self) -> int | None:
        """Several modes are concatenated."""
        width = self.embedding_dimension or self.word_embedding_dimension
        return width * self._modes if width else None

    @property
    def _modes(self) -> int:
        if self.pooling_mode is not None:
            return 1 if isinstance(self.pooling_mode, str) else max(1, len(self.pooling_mode))
        flags = [bool(getattr(self, name)) for name in self.__struct_fields__ if name.startswith("pooling_mode_")]
        return max(1, flags.count(True))


class _Dense(msgspec.Struct):
    out_features: int
    module_input_name: str = "sentence_embedding"


def modules_of(folder: Path) -> list[Module]:
    """The model's modules, a transformer first; without `modules.json`, what sentence-transformers puts there."""
    path = folder / "modules.json"
    if not path.exists():
        if not (folder / "config.json").exists():
            raise UsageError(f"{folder}: no model here (neither modules.json nor config.json)")
        return [Module("Transformer"), Module("Pooling", "\0")]
    modules = parse_json(path, list[Module])
    if not modules or modules[0].kind != "Transformer":
        first = modules[0].kind if modules else "nothing"
        raise UsageError(f"{path}: the model starts with {first}; only models that start with a Transformer work here")
    return modules


def output_of(folder: Path, modules: list[Module], width: int | None, document_prompt: str) -> tuple[int | None, bool]:
    """Dimension of the sentence vector, and whether the last thing done to it is to make its length 1."""
    dimension, normalized = width, False
    for module in modules[1:]:
        if module.kind not in MODULES:
            raise UsageError(f"{folder}: the model has a {module.kind} module, which is not supported")
        config = inside(folder, module.path) / "config.json" if module.path != "\0" else None
        if module.kind == "Pooling" and config is not None:
            pooling = read_json(config, _Pooling) or _Pooling()
            if document_prompt and not pooling.include_prompt:
                raise UsageError(f"{config}: the model leaves its prompt out of the pooling, which is not supported")
            dimension = pooling.dimension or dimension
        elif module.kind == "Dense" and config is not None:
            dense = parse_json(config, _Dense)
            if dense.module_input_name == "sentence_embedding":
                dimension = dense.out_features
        normalized = module.kind == "Normalize" or (normalized and module.kind == "Dropout")
    return dimension, normalized


def inside(folder: Path, relative: str) -> Path:
    """A module's folder, which must not lead out of the model's."""
    parts = Path(relative).parts
    if Path(relative).is_absolute() or ".." in parts or "\0" in relative:
        raise UsageError(f"{folder / 'modules.json'}: the path {relative!r} leads out of the model's folder")
    return folder / relative
