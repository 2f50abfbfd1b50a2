"""Docstrings: a module begins with a noun phrase or a verb with an object, and no sentence with "What" or "Whether"."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT

PACKAGES = ("pipeline", "producers", "consumers", "sinks", "deploy", "grafana", "bench")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.stat().st_size)

NO_BEGINNING = re.compile(r"(What|Whether|Where|Who|Whose|Which|Why|When|How|It|Its|From)\b")
"""First words of half a sentence, or of one that is about something else."""
NO_SENTENCE = re.compile(r"(?:^|[.:;]\s+)(What|Whether)\s")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_modules_first_line_is_a_noun_phrase_or_a_verb_with_an_object(path: Path) -> None:
    first = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]
    assert first, "no docstring"
    assert not NO_BEGINNING.match(first)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_classes_and_functions_are_described_in_whole_sentences_or_noun_phrases(path: Path) -> None:
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    described = (node for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef))
    assert [node.name for node in described if NO_BEGINNING.match(ast.get_docstring(node) or "")] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_sentence_of_a_docstring_begins_with_what_or_whether(path: Path) -> None:
    assert [text for text in docstrings(path) if NO_SENTENCE.search(text)] == []


def docstrings(path: Path) -> Iterator[str]:
    """The docstrings of a module, of its classes and functions, and of its attributes."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        body = getattr(node, "body", [])
        for statement in body if isinstance(body, list) else []:
            match statement:
                case ast.Expr(ast.Constant(str(text))):
                    yield " ".join(text.split())
