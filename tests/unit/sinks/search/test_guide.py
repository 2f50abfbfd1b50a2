"""The guide to search in programs: its examples are Python, and use what there is."""

from __future__ import annotations

import ast
import importlib
import inspect
import re

import pytest

from sinks.search import Answer, Hit, Search
from tests import ROOT

GUIDE = (ROOT / "docs" / "search-in-programs.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
OURS = {"search": Search, "self._search": Search, "self.search": Search, "hit": Hit, "answer": Answer}
"""Names that the examples give to objects of ours."""


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_imports_and_calls_what_there_is(example: str) -> None:
    for node in ast.walk(ast.parse(example)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sinks"):
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, alias.name) for alias in node.names)
        if isinstance(node, ast.Attribute) and (kind := OURS.get(ast.unparse(node.value))):
            assert hasattr(kind, node.attr), f"{kind.__name__} has no {node.attr}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            kind = OURS.get(ast.unparse(node.func.value))
            if kind is Search:
                parameters = inspect.signature(getattr(kind, node.func.attr)).parameters
                assert {keyword.arg for keyword in node.keywords} <= set(parameters)
