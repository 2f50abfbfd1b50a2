"""LanceDB's own note on a table's model, so that `open_table(name).search("a question")` works without this project.

LanceDB keeps it in the metadata of the table's schema, which can be set only when a table is made. It takes a model by
name and puts no prompt before a question, so it is right for models of the hub that need none, and for no others.
"""

from __future__ import annotations

import json
from typing import Any

from lancedb.embeddings import get_registry
from lancedb.embeddings.sentence_transformers import SentenceTransformerEmbeddings

from pipeline.model_files import ModelFiles
from sinks.about import A_FOLDER, About

KEY = "embedding_functions"
FUNCTION = "sentence-transformers"


def entry(files: ModelFiles) -> dict[str, str]:
    """Metadata for the schema of a new table of this model; empty where LanceDB would embed questions wrongly."""
    if files.place == "folder" or files.query_prompt or files.default_prompt:
        return {}
    function = {
        "name": FUNCTION,
        "model": {
            "name": files.name,
            "device": "cpu",
            "normalize": files.normalized,
            "trust_remote_code": False,  # LanceDB's default is true
        },
        "source_column": "text",
        "vector_column": "vector",
    }
    return {KEY: json.dumps([function])}


def why_not(about: About | None, metadata: dict[bytes, bytes] | None) -> str:
    """The reason why a plain LanceDB notebook cannot ask this table in words; empty when it can."""
    if metadata and KEY.encode() in metadata:
        return ""
    if about is None or not about.created:
        return "the table was made by an older Cirrostream, and LanceDB takes its note on the model at creation only"
    if about.model == A_FOLDER:
        return "its model is a folder on the machine that made it"
    if about.query_prompt:
        return f"its model wants {about.query_prompt!r} before every question, and LanceDB knows no prompts"
    return "its model has a default prompt, and LanceDB knows no prompts"


def embed_no_rows() -> None:
    """Keeps LanceDB from embedding texts in this process: with that note in a table, a merge of nothing but null
    vectors (the fence alone, deletions) loads the model and embeds the rows' texts, and fails where there are none.

    Questions of this process are still embedded. Done by whoever writes a table, as often as wanted.
    """
    get_registry().register(FUNCTION)(QuestionsOnly)


class QuestionsOnly(SentenceTransformerEmbeddings):
    """LanceDB's function with no vector for a stored text."""

    def compute_source_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> list[None]:
        return [None] * len(texts)

    def compute_query_embeddings(self, query: str, *args: Any, **kwargs: Any) -> list[Any]:
        return super().compute_source_embeddings(query, *args, **kwargs)

    def ndims(self) -> int:
        """None of the stored texts gets a vector, so no length fits; the model is not loaded to ask."""
        return 0
