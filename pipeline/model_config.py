"""Reads what a sentence-transformers model says about itself, from its small JSON files alone.

Loading the model would tell the same, for 766 MB and 6 seconds; the chunk stage needs neither torch nor the weights.
What is read, and its order of precedence, follows sentence-transformers 6 (`Transformer.load_config`, `Pooling`,
`Dense`, `encode_document`), the older field names included.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from pipeline.errors import UsageError

LONGEST_ASSUMED = 8192
"""Bound on the tokens of a model that gives no `max_seq_length`: some tokenizers say 10^30, some models 131,072."""

UNKNOWN_MAX_TOKENS = 512
MAX_JSON_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The facts of a model; see `pipeline.model_files.ModelFiles` for the fields' meaning."""

    max_tokens: int
    dimension: int | None
    normalized: bool
    document_prompt: str
    query_prompt: str
    lowercase: bool
    tokenizer_file: Path


class _Module(msgspec.Struct):
    type: str
    path: str = ""

    @property
    def kind(self) -> str:
        return self.type.rsplit(".", 1)[-1]


class _TokenizerArgs(msgspec.Struct):
    model_max_length: int | float | None = None


class _Transformer(msgspec.Struct):
    max_seq_length: int | None = None
    do_lower_case: bool = False
    processor_kwargs: _TokenizerArgs | None = None
    tokenizer_args: _TokenizerArgs | None = None
    modality_config: dict[str, object] | None = None


class _Network(msgspec.Struct):
    """`config.json`; a multimodal model has the text model's under `text_config`."""

    model_type: str = ""
    hidden_size: int | None = None
    d_model: int | None = None
    dim: int | None = None
    n_embd: int | None = None
    max_position_embeddings: int | None = None
    pad_token_id: object = None
    text_config: _Network | None = None

    @property
    def width(self) -> int | None:
        return self.hidden_size or self.d_model or self.dim or self.n_embd

    @property
    def positions(self) -> int | None:
        """Usable positions: RoBERTa and its kin start to count after the padding token's id."""
        if self.max_position_embeddings is None or self.max_position_embeddings <= 0:
            return None
        roberta = any(kin in self.model_type for kin in ("roberta", "camembert", "mpnet"))
        offset = self.pad_token_id + 1 if roberta and isinstance(self.pad_token_id, int) else 0
        return self.max_position_embeddings - offset


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


class _Prompts(msgspec.Struct):
    prompts: dict[str, str | None] = {}
    default_prompt_name: str | None = None
    truncate_dim: int | None = None

    def first_of(self, names: tuple[str, ...]) -> str:
        """The prompt of the first name there is, else the default one; an empty string when there is none."""
        for name in (*names, self.default_prompt_name):
            if name is not None and name in self.prompts:
                return self.prompts[name] or ""
        return ""


S = TypeVar("S", bound=msgspec.Struct)


def read_config(folder: Path) -> ModelConfig:
    """Reads `modules.json` and the files it leads to.

    A folder without `modules.json` is a plain transformer; sentence-transformers puts mean pooling on it.

    Raises:
        UsageError: a file is missing, malformed, or asks for something that token ids alone cannot give.
    """
    modules = _modules(folder)
    root = _inside(folder, modules[0].path)
    transformer = _transformer(root)
    network = _read(root / "config.json", _Network) or _Network()
    text_network = network.text_config or network
    prompts = _read(folder / "config_sentence_transformers.json", _Prompts) or _Prompts()
    document_prompt = prompts.first_of(("document", "passage", "corpus"))
    dimension, normalized = _output(folder, modules, text_network.width, document_prompt)
    if prompts.truncate_dim and dimension and prompts.truncate_dim < dimension:
        dimension, normalized = prompts.truncate_dim, False
    return ModelConfig(
        max_tokens=_max_tokens(root, transformer, text_network),
        dimension=dimension,
        normalized=normalized,
        document_prompt=document_prompt,
        query_prompt=prompts.first_of(("query",)),
        lowercase=transformer.do_lower_case,
        tokenizer_file=_tokenizer_file(root),
    )


def _modules(folder: Path) -> list[_Module]:
    path = folder / "modules.json"
    if not path.exists():
        if not (folder / "config.json").exists():
            raise UsageError(f"{folder}: no model here (neither modules.json nor config.json)")
        return [_Module("Transformer"), _Module("Pooling", "\0")]
    modules = _parse(path, list[_Module])
    if not modules or modules[0].kind != "Transformer":
        first = modules[0].kind if modules else "nothing"
        raise UsageError(f"{path}: the model starts with {first}; only models that start with a Transformer work here")
    return modules


def _transformer(root: Path) -> _Transformer:
    config = _Transformer()
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"):
        found = _read(root / f"sentence_{kind}_config.json", _Transformer)
        if found is not None:
            config = found
            break
    if config.modality_config is not None and "text" not in config.modality_config:
        raise UsageError(f"{root}: the model takes chat messages, not text; choose a text embedding model")
    return config


def _max_tokens(root: Path, transformer: _Transformer, network: _Network) -> int:
    for args in (transformer.processor_kwargs, transformer.tokenizer_args):
        if args is not None and args.model_max_length:
            return int(args.model_max_length)
    if transformer.max_seq_length:
        return transformer.max_seq_length
    tokenizer = _read(root / "tokenizer_config.json", _TokenizerArgs) or _TokenizerArgs()
    known = [limit for limit in (tokenizer.model_max_length, network.positions) if limit]
    return int(min([*known, LONGEST_ASSUMED])) if known else UNKNOWN_MAX_TOKENS


def _output(folder: Path, modules: list[_Module], width: int | None, document_prompt: str) -> tuple[int | None, bool]:
    """Dimension of the sentence vector, and whether the last thing done to it is to make its length 1."""
    dimension, normalized = width, False
    for module in modules[1:]:
        config = _inside(folder, module.path) / "config.json" if module.path != "\0" else None
        if module.kind == "Pooling" and config is not None:
            pooling = _read(config, _Pooling) or _Pooling()
            if document_prompt and not pooling.include_prompt:
                raise UsageError(f"{config}: the model leaves its prompt out of the pooling, which is not supported")
            dimension = pooling.dimension or dimension
        elif module.kind == "Dense" and config is not None:
            dense = _parse(config, _Dense)
            if dense.module_input_name == "sentence_embedding":
                dimension, normalized = dense.out_features, False
        elif module.kind == "Normalize":
            normalized = True
        elif module.kind in ("Router", "Asym"):
            raise UsageError(f"{folder}: the model has a {module.kind} module, which is not supported")
    return dimension, normalized


def _tokenizer_file(root: Path) -> Path:
    path = root / "tokenizer.json"
    if not path.is_file():
        raise UsageError(
            f"{root}: no tokenizer.json; save it with "
            "transformers.AutoTokenizer.from_pretrained(MODEL).save_pretrained(FOLDER)"
        )
    return path


def _inside(folder: Path, relative: str) -> Path:
    """A module's folder, which must not lead out of the model's."""
    parts = Path(relative).parts
    if Path(relative).is_absolute() or ".." in parts or "\0" in relative:
        raise UsageError(f"{folder / 'modules.json'}: the path {relative!r} leads out of the model's folder")
    return folder / relative


def _read(path: Path, kind: type[S]) -> S | None:
    return _parse(path, kind) if path.exists() else None


T = TypeVar("T")


def _parse(path: Path, kind: type[T]) -> T:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UsageError(f"{path}: larger than {MAX_JSON_BYTES} bytes, which no model's configuration is")
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: {error}") from None
