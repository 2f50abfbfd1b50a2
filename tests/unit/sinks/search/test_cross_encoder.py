"""The reranker: scores as sentence-transformers gives them, files that can run no code, and an end when it is late."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import TryAgain, UsageError
from pipeline.model_files import resolve
from pipeline.settings import ModelSettings
from sinks.reader import Reader
from sinks.search import Search
from sinks.search.cross_encoder import BATCH, CrossEncoderReranker, find_reranker
from sinks.search.encoder import QuestionEncoder
from tests.tables import embedded, new_table, vector

QUESTION = "who keeps the harbour light"
TEXTS = [f"the keeper {'lit the lamp of the old harbour ' * (n % 5)} on day {n}" for n in range(BATCH * 2 + 3)]
WORDS = sorted({*QUESTION.split(), *" ".join(TEXTS).split()})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-encoder of two layers with random weights, and a tokenizer of the words of this test."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    made = tmp_path_factory.mktemp("reranker")
    tokens = {token: n for n, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    words = Tokenizer(models.WordLevel(tokens, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(made)
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(tokens), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, num_labels=1, initializer_range=0.5,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(made, safe_serialization=True)
    return made


@pytest.fixture(scope="module")
def reranker(folder: Path) -> CrossEncoderReranker:
    return CrossEncoderReranker.load(find_reranker(str(folder)), "tiny", "cpu")


def test_scores_are_those_of_the_cross_encoder_itself(folder: Path, reranker: CrossEncoderReranker) -> None:
    from sentence_transformers import CrossEncoder

    expected = CrossEncoder(str(folder), device="cpu").predict([(QUESTION, text) for text in TEXTS])
    scores = reranker.scores(QUESTION, TEXTS)
    assert scores.dtype == np.float32
    assert np.allclose(scores, expected, atol=1e-5)
    assert len({round(float(score), 4) for score in scores}) > BATCH, "or this tests nothing"
    assert reranker.scores(QUESTION, []).shape == (0,)


def test_when_nobody_waits_any_more_no_further_batch_is_begun(
    reranker: CrossEncoderReranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TryAgain, match="was late"):
        reranker.scores(QUESTION, TEXTS, time.perf_counter() - 1)
    assert len(reranker.scores(QUESTION, TEXTS[:3], time.perf_counter() + 60)) == 3


def test_pickled_weights_are_no_reranker(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UsageError, match=r"no \*\.safetensors"):
        find_reranker(str(tmp_path))
    with pytest.raises(UsageError, match=r"--rerank \./nowhere: there is no such folder"):
        find_reranker("./nowhere")


def test_a_model_with_several_numbers_a_text_and_one_that_cannot_be_read_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"none")
    with pytest.raises(UsageError, match="cannot load the reranker broken"):
        CrossEncoderReranker.load(tmp_path, "broken", "cpu")
    from transformers import BertConfig, BertForSequenceClassification

    several = BertConfig.from_pretrained(folder, num_labels=3)
    BertForSequenceClassification(several).save_pretrained(tmp_path, safe_serialization=True)
    with pytest.raises(UsageError, match="gives 3 numbers a text"):
        CrossEncoderReranker.load(tmp_path, "several", "cpu")


def test_a_search_orders_its_hits_by_the_reranker_and_says_so_or_leaves_them_when_it_is_late(
    tmp_path: Path, reranker: CrossEncoderReranker
) -> None:
    table = new_table(tmp_path)
    table.write([embedded(f"awiki:{n}", n, 1) for n in range(12)], {0: 12})
    reader = Reader(table.lance, table.name)
    plain = Search(reader, Fixed(), "minilm-1").answer("light", k=5, mode="vector")
    ready = Search(reader, Fixed(), "minilm-1", reranker=reranker)
    answer = ready.answer("light", k=5, mode="vector")
    assert answer.legs[-1].name == "rerank"
    assert (answer.legs[-1].state, answer.legs[-1].candidates) == ("ran", 12)
    every = {hit.id: hit for hit in Search(reader, Fixed(), "minilm-1").answer("light", k=12, mode="vector").hits}
    scores = dict(zip(every, reranker.scores("light", [f"{h.title}\n{h.text}" for h in every.values()]), strict=True))
    assert [hit.id for hit in answer.hits] == sorted(scores, key=lambda key: -scores[key])[:5]
    assert answer.hits[0].legs["rerank"] == pytest.approx(scores[answer.hits[0].id], abs=1e-5)
    late = Search(reader, Fixed(), "minilm-1", reranker=Stuck()).answer("light", k=5, mode="vector", deadline_ms=300)
    assert (late.legs[-1].name, late.legs[-1].state) == ("rerank", "late")
    assert [hit.id for hit in late.hits] == [hit.id for hit in plain.hits]


class Fixed:
    def encode(self, question: str) -> np.ndarray:
        return vector(3, 0).astype(np.float32)


class Stuck:
    """Scores nothing before it is told that nobody waits."""

    def scores(self, question: str, texts: Sequence[str], late: float | None = None) -> np.ndarray:
        assert late is not None
        threading.Event().wait(late - time.perf_counter() + 0.2)
        raise TryAgain("too late")


def test_a_program_that_searches_may_still_use_the_hub(
    reranker: CrossEncoderReranker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders are loaded without asking it, so there is no need to switch it off for the whole process."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asked the network"))
    CrossEncoderReranker.load(folder, "tiny", "cpu")
    QuestionEncoder.load(resolve(ModelSettings(), weights=True), "cpu")
    assert "HF_HUB_OFFLINE" not in os.environ
