"""Questions with the pages that answer them: folders in BEIR's layout, and files of our own."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError, one_line

OWN = Path(__file__).parent / "questions"
"""Question sets of this project."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the pages that answer it."""

    text: str
    grades: Mapping[str, int]
    """Page (`wiki:page_id`) -> how well it answers, 1 and more."""

    @property
    def pages(self) -> frozenset[str]:
        return frozenset(page for page, grade in self.grades.items() if grade > 0)


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions that were made in the same way."""

    name: str
    questions: list[Question]


def load(place: Path, wiki: str = "") -> QuestionSet:
    """Questions of a BEIR folder, or of a file of our own.

    Args:
        place: a folder with `queries.jsonl` and `qrels/test.tsv`, or a file with a JSON object a line, `question`
            and `page_id`.
        wiki: name of the wiki that the pages have in the table; default: the folder's or file's name.

    Raises:
        UsageError: there is no such place, or it holds something else.
    """
    name = place.stem if place.suffix == ".jsonl" else place.name
    try:
        questions = list(_own(place, wiki or name) if place.is_file() else _beir(place, wiki or name))
    except OSError as error:
        raise UsageError(f"{place}: no questions there: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{place}: not a question set: {one_line(error)}") from None
    if not questions:
        raise UsageError(f"{place}: no question in it has a page that answers it")
    return QuestionSet(name, questions)


def _own(place: Path, wiki: str) -> Iterator[Question]:
    for row in _lines(place):
        yield Question(str(row["question"]), {f"{wiki}:{row['page_id']}": 1})


def _beir(folder: Path, wiki: str) -> Iterator[Question]:
    texts = {str(row["_id"]): str(row["text"]) for row in _lines(folder / "queries.jsonl")}
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    with (folder / "qrels" / "test.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            grades[row["query-id"]][f"{wiki}:{row['corpus-id']}"] = int(row["score"])
    for query, pages in grades.items():
        if any(grade > 0 for grade in pages.values()):
            yield Question(texts[query], pages)


def _lines(place: Path) -> Iterator[dict[str, Any]]:
    with place.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)
