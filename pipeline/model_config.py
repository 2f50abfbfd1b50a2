"""Reads a sentence-transformers model's configuration, from its small JSON files alone.

Loading the model would tell the same, for 766 MB and 6 seconds; the chunk stage needs neither torch nor the weights.
The fields read, and their order of precedence, follow sentence-transformers 6 (`Transformer.load_config`, `Pooling`,
`Dense`, `encode_document`), the older field names included.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from pipeline.errors import UsageError
from pipeline.model_json import parse_json, read_json
from pipeline.model_modules import inside, modules_of, output_of
from pipeline.model_network import Network, network_of

LONGEST_ASSUMED = 8192
"""Bound on the tokens of a model that gives no `max_seq_length`: some tokenizers say 10^30, some models 131,072."""

UNKNOWN_MAX_TOKENS = 512
UNLIMITED = 1_000_000
"""A limit above says that there is none."""


Metric = Literal["cosine", "dot", "l2"]
"""How two vectors are compared, in LanceDB's words."""

METRICS: dict[str | None, Metric] = {None: "cosine", "cosine": "cosine", "dot": "dot", "euclidean": "l2"}
"""By sentence-transformers' `similarity_fn_name`. LanceDB has nothing for "manhattan"."""


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
    metric: Metric
    notices: tuple[str, ...]
    default_prompt: str


class _TokenizerArgs(msgspec.Struct):
    model_max_length: int | float | None = None


class _Transformer(msgspec.Struct):
    max_seq_length: int | None = None
    do_lower_case: bool = False
    processor_kwargs: _TokenizerArgs | None = None
    tokenizer_args: _TokenizerArgs | None = None
    modality_config: dict[str, object] | None = None
    module_output_name: str | None = None


class _Model(msgspec.Struct):
    """`config_sentence_transformers.json`."""

    prompts: dict[str, str | None] = {}
    default_prompt_name: str | None = None
    truncate_dim: int | None = None
    similarity_fn_name: str | None = None
    model_type: str = "SentenceTransformer"

    def first_of(self, names: tuple[str, ...]) -> str:
        """The prompt of the first name there is, else the default one; an empty string when there is none."""
        for name in (*names, self.default_prompt_name):
            if name is not None and name in self.prompts:
                return self.prompts[name] or ""
        return ""


def read_config(folder: Path) -> ModelConfig:
    """Reads `modules.json` and the files it leads to.

    A folder without `modules.json` is a plain transformer; sentence-transformers puts mean pooling on it.

    Raises:
        UsageError: a file is missing, malformed, or asks for something that token ids alone cannot give.
    """
    modules = modules_of(folder)
    root = inside(folder, modules[0].path)
    transformer = _transformer(root)
    network = _network(root / "config.json")
    model = _model(folder / "config_sentence_transformers.json")
    document_prompt = model.first_of(("document", "passage", "corpus"))
    dimension, normalized = output_of(folder, modules, network.width, document_prompt)
    if transformer.module_output_name != "sentence_embedding" and "Pooling" not in (one.kind for one in modules):
        raise UsageError(f"{folder / 'modules.json'}: no Pooling module: the model has a vector a token, none a text")
    if model.truncate_dim and dimension and model.truncate_dim < dimension:
        dimension, normalized = model.truncate_dim, False
    max_tokens, cut = _max_tokens(root, transformer, network)
    metric, odd = _metric(folder, model.similarity_fn_name, normalized=normalized)
    return ModelConfig(
        max_tokens=max_tokens,
        dimension=dimension,
        normalized=normalized,
        document_prompt=document_prompt,
        query_prompt=model.first_of(("query",)),
        lowercase=transformer.do_lower_case,
        tokenizer_file=_tokenizer_file(root),
        metric=metric,
        notices=(*cut, *odd),
        default_prompt=model.first_of(()),
    )


def _model(path: Path) -> _Model:
    model = read_json(path, _Model) or _Model()
    if model.model_type != "SentenceTransformer":
        raise UsageError(f"{path}: the model is a {model.model_type}; only SentenceTransformers make one dense vector")
    if model.default_prompt_name is not None and model.default_prompt_name not in model.prompts:
        raise UsageError(f"{path}: default_prompt_name is {model.default_prompt_name!r}, which is none of its prompts")
    return model


def _metric(folder: Path, named: str | None, *, normalized: bool) -> tuple[Metric, tuple[str, ...]]:
    """The metric of the model's vectors. Those of length 1 have one order by cosine, dot and distance."""
    if named == "manhattan":
        raise UsageError(f"{folder}: the model's vectors are compared by manhattan distance, which LanceDB does not do")
    if named not in METRICS:
        return "cosine", (f"{folder}: similarity_fn_name {named!r} is unknown; vectors are compared by cosine",)
    return "cosine" if normalized else METRICS[named], ()


def _transformer(root: Path) -> _Transformer:
    config = _Transformer()
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"):
        found = read_json(root / f"sentence_{kind}_config.json", _Transformer)
        if found is not None:
            config = found
            break
    if config.modality_config is not None and "text" not in config.modality_config:
        raise UsageError(f"{root}: the model takes chat messages, not text; choose a text embedding model")
    return config


def _network(path: Path) -> Network:
    try:
        return network_of(parse_json(path, dict[str, Any]) if path.exists() else {})
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {error}") from None


def _max_tokens(root: Path, transformer: _Transformer, network: Network) -> tuple[int, tuple[str, ...]]:
    """The longest input, and what is to be said about it."""
    wanted = _wanted_tokens(transformer)
    if wanted is not None:
        most = network.most_tokens
        if most is None or wanted <= most:
            return wanted, ()
        return most, (f"{root}: {wanted} tokens are asked for, the network has {most} positions: {most} are taken",)
    tokenizer = read_json(root / "tokenizer_config.json", _TokenizerArgs) or _TokenizerArgs()
    known = [limit for limit in (tokenizer.model_max_length, network.positions) if limit]
    return (int(min([*known, LONGEST_ASSUMED])) if known else UNKNOWN_MAX_TOKENS), ()


def _wanted_tokens(transformer: _Transformer) -> int | None:
    for args in (transformer.processor_kwargs, transformer.tokenizer_args):
        if args is not None and args.model_max_length:
            return _limit(args.model_max_length)
    return _limit(transformer.max_seq_length) if transformer.max_seq_length else None


def _limit(tokens: float) -> int | None:
    return int(tokens) if tokens <= UNLIMITED else None


def _tokenizer_file(root: Path) -> Path:
    path = root / "tokenizer.json"
    if not path.is_file():
        raise UsageError(
            f"{root}: no tokenizer.json; save it with "
            "transformers.AutoTokenizer.from_pretrained(MODEL).save_pretrained(FOLDER)"
        )
    return path
