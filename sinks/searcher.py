"""Nearest chunks to a question: the model's side of it, and the table's."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Fatal, UsageError, first_line, is_fault
from pipeline.model_config import Metric
from pipeline.model_files import ModelFiles
from pipeline.records import valid_wiki
from sinks.licences import host_of, licence_of
from sinks.reader import Reader
from sinks.rows import LIVE, is_live
from sinks.storage import quoted

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MAX_K = 1_000
MAX_QUESTION = 10_000
"""Characters; models read some hundred words and ignore the rest."""

NPROBES = 50
REFINE = 10
"""With an IVF_RQ index over 500,000 rows: recall@10 of 0.981 in 8 ms; 20 and 5 gave 0.956 in 7 ms."""

COLUMNS = ("id", "page", "wiki", "title", "url", "text", "n", "n_chunks", "start", "end", "revision", "timestamp")
_PUBLISHED = ("snapshot", "metadata")
"""They tell the licence."""

EMPTY: dict[str, Any] = {
    **dict.fromkeys((*COLUMNS, *_PUBLISHED), ""),
    **dict.fromkeys(("n", "start", "revision")),
    "n_chunks": 0,
    "end": 0,
}
"""Of a row that somebody else has added, or a table from which a describing column was dropped."""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk that was found."""

    rank: int
    score: float
    """How similar question and chunk are, more is better: their cosine, -1 to 1; for models that compare so, the dot
    product, or minus the distance."""
    id: str
    page: str
    wiki: str
    title: str
    url: str
    text: str
    n: int
    n_chunks: int
    start: int
    end: int
    revision: int | None
    timestamp: str
    source: str = ""
    """Who published the page: the host of `url`, or the wiki's name."""
    licence: str = ""
    """Of the text; empty: not known."""
    licence_url: str = ""


@dataclass(frozen=True, slots=True)
class QuestionEncoder:
    """The model, for questions: many models give them another prompt than documents."""

    model: SentenceTransformer
    prompt: str

    @classmethod
    def load(cls, files: ModelFiles, device: str = "auto") -> QuestionEncoder:
        """Takes seconds, most of them for the import. In fp32 whatever the documents were embedded in.

        Raises:
            UsageError: the model cannot be loaded, or there is no such device.
        """
        os.environ["HF_HUB_OFFLINE"] = "1"  # read at import; the files are all here
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            model = SentenceTransformer(
                str(files.path),
                device=None if device == "auto" else device,
                local_files_only=True,
                model_kwargs={"dtype": torch.float32, "use_safetensors": True},
            )
        except BaseException as error:
            if not is_fault(error):
                raise
            line = f"{type(error).__name__}: {first_line(error)}"
            raise UsageError(f"cannot load the model {files.name} on --device {device}: {line}") from error
        model.max_seq_length = files.max_tokens  # the model's own may be more than it can place
        return cls(model, files.query_prompt)

    def encode(self, question: str) -> NDArray[np.float32]:
        """The question's vector, of shape (dimension,).

        Raises:
            Fatal: the model fails on it.
        """
        try:
            vector: NDArray[np.float32] = self.model.encode_query(
                question, prompt=self.prompt, convert_to_numpy=True, show_progress_bar=False
            )
        except BaseException as error:
            if not is_fault(error):
                raise
            line = f"{type(error).__name__}: {first_line(error)}"
            raise Fatal(f"the model cannot embed this question: {line}") from error
        return vector.astype(np.float32)


def checked_question(question: str) -> str:
    """The question without what no tokenizer takes.

    Raises:
        UsageError: it is empty or beyond all reason.
    """
    # A terminal that is not UTF-8 leaves lone surrogates in the arguments.
    clean = question.encode("utf-8", "replace").decode().strip()
    if not clean:
        raise UsageError("the question is empty")
    if len(clean) > MAX_QUESTION:
        raise UsageError(f"the question has {len(clean)} characters, at most {MAX_QUESTION} are allowed")
    return clean


def wiki_filter(wiki: str) -> str | None:
    """The condition that keeps one wiki; None for all of them.

    Raises:
        UsageError: that is no wiki's name, so it may not get into a condition.
    """
    if not wiki:
        return None
    if not valid_wiki(wiki):
        raise UsageError(f"--wiki {wiki!r} is not a wiki's name such as enwiki")
    return f"wiki = {quoted(wiki)}"


def nearest(
    reader: Reader, vector: NDArray[np.float32], k: int, where: str | None = None, metric: Metric = "cosine"
) -> list[Hit]:
    """The `k` chunks nearest to `vector` by the model's metric, best first; fewer when there are fewer.

    Needs no condition against dead rows: null vectors are never found, and such a filter costs 5 to 10 times. Only
    when somebody has given a vector to a row that is not live, it is asked once more with one.
    """
    rows = reader.read(lambda lance: _query(lance, vector, k, where, metric))
    if not all(is_live(row["n"], row["start"]) for row in rows):
        only_live = f"{LIVE} AND ({where})" if where else LIVE
        rows = reader.read(lambda lance: _query(lance, vector, k, only_live, metric))
    return [hit_of(rank, row, metric) for rank, row in enumerate(rows, start=1)]


def _query(lance: Any, vector: NDArray[np.float32], k: int, where: str | None, metric: Metric) -> list[dict[str, Any]]:
    query = lance.search(vector, vector_column_name="vector").distance_type(metric)
    if any(index.columns == ["vector"] for index in lance.list_indices()):
        query = query.nprobes(NPROBES).refine_factor(REFINE)
    if where:
        query = query.where(where, prefilter=True)
    there = set(lance.schema.names)
    columns = [name for name in (*COLUMNS, *_PUBLISHED) if name in there]
    rows: list[dict[str, Any]] = query.select([*columns, "_distance"]).limit(k).to_arrow().to_pylist()
    return [{**EMPTY, **{name: value for name, value in row.items() if value is not None}} for row in rows]


def hit_of(rank: int, row: dict[str, Any], metric: Metric = "cosine") -> Hit:
    """A row of the answer as a hit. LanceDB has distances: 1 - cosine, 1 - dot product, the square of the euclidean."""
    distance = row["_distance"]
    score = -math.sqrt(max(0.0, distance)) if metric == "l2" else 1 - distance
    licence = licence_of(row["url"] or "", *(row[name] or "" for name in ("snapshot", "timestamp", "metadata")))
    return Hit(
        rank=rank,
        score=round(score, 6),
        source=host_of(row["url"] or "") or row["wiki"],
        licence=licence.name,
        licence_url=licence.url,
        **{name: row[name] for name in COLUMNS},
    )
