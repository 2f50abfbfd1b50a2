"""Rows as hits. Pure."""

from __future__ import annotations

import math
from typing import Any

from pipeline.model_config import Metric
from sinks.languages import language_of
from sinks.licences import host_of, licence_of
from sinks.search.answers import Hit, Passage
from sinks.search.links import passage_link

COLUMNS = ("id", "page", "wiki", "title", "url", "text", "n", "n_chunks", "start", "end", "revision", "timestamp")
_PUBLISHED = ("language", "snapshot", "metadata")
"""They tell language and licence."""

READ = (*COLUMNS, *_PUBLISHED)

EMPTY: dict[str, Any] = {
    **dict.fromkeys((*COLUMNS, *_PUBLISHED), ""),
    **dict.fromkeys(("n", "start", "revision")),
    "n_chunks": 0,
    "end": 0,
}
"""Of a row that somebody else has added, or a table from which a describing column was dropped."""


def completed(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it was read, with a value for each column of `READ`."""
    return {**EMPTY, **{name: value for name, value in row.items() if value is not None}}


def similarity(distance: float, metric: Metric) -> float:
    """LanceDB's distance as a score: it has 1 - cosine, 1 - dot product, the square of the euclidean."""
    return -math.sqrt(max(0.0, distance)) if metric == "l2" else 1 - distance


def hit_of(
    rank: int,
    row: dict[str, Any],
    score: float,
    legs: dict[str, float] | None = None,
    passages: tuple[Passage, ...] = (),
) -> Hit:
    """A row with the columns `READ` as a hit."""
    licence = licence_of(row["url"] or "", *(row[name] or "" for name in ("snapshot", "timestamp", "metadata")))
    return Hit(
        rank=rank,
        score=round(score, 6),
        source=host_of(row["url"] or "") or row["wiki"],
        licence=licence.name,
        licence_url=licence.url,
        language=language_of(row["language"], row["wiki"]),
        link=passage_link(row["url"], row["text"]),
        legs={leg: round(part, 6) for leg, part in (legs or {}).items()},
        passages=list(passages),
        **{name: row[name] for name in COLUMNS},
    )


def passage_of(row: dict[str, Any], score: float) -> Passage:
    """A row with the columns `READ` as a further passage of its page."""
    link = passage_link(row["url"], row["text"])
    return Passage(
        score=round(score, 6), link=link, **{name: row[name] for name in ("id", "n", "start", "end", "text")}
    )
