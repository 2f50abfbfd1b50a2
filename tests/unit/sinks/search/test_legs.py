"""Legs: what each of them finds, and what an answer says of one that is late, fails or cannot add anything."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from lancedb.index import FTS, BTree, IvfRq
from numpy.typing import NDArray

from pipeline.errors import Fatal, UsageError
from pipeline.records import EmbeddedPage, Page, Span
from pipeline.settings import TableSettings
from sinks.indexes import TAIL_ROWS
from sinks.languages import TEXT_COLUMNS
from sinks.measured import LegWeights, Measured
from sinks.reader import Reader
from sinks.search import Answer, Filters, Search, state
from sinks.search.answers import Mode
from sinks.search.pool import DaemonPool
from sinks.search.rows import rows_at
from sinks.table import Table
from tests.tables import embedded, new_table, vector

PAGES = (
    ("enwiki:1", "Snow", ("Snowfall",), "Crystals of frozen water that fall in winter."),
    ("enwiki:2", "Snow leopard", (), "A cat that lives on high mountains."),
    ("enwiki:3", "Lighthouse", ("Light house", "Pharos"), "Towers that guide ships at night."),
    ("dewiki:1", "Schnee", (), "Kristalle aus Wasser, die im Winter von den Bergen glänzen."),
    ("dewiki:2", "Häuser", (), "Ein Haus schützt vor Regen."),
    ("zhwiki:1", "灯塔", (), "灯塔在夜间为船只指引方向。"),
)


class EncoderOf:
    """Gives every question the vector of page 1, once it may."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.may.set()
        self.fails = False

    def encode(self, question: str) -> NDArray[np.float32]:
        self.may.wait(30)
        if self.fails:
            raise Fatal("the model cannot embed this question")
        return vector(1, 0).astype(np.float32)


def page(number: int, key: str, title: str, aliases: tuple[str, ...], text: str) -> EmbeddedPage:
    wiki, _, page_id = key.partition(":")
    made = Page(
        wiki=wiki, page_id=page_id, title=title, text=text, language=wiki[:2], aliases=aliases,
        popularity_score=float(number),
    )  # fmt: skip
    return msgspec.structs.replace(embedded(key, number, 1), page=made, spans=(Span(0, 0, len(text)),))


def filled(folder: Path, *, indexed: bool) -> Table:
    table = new_table(folder)
    table.write([page(number, *of) for number, of in enumerate(PAGES, start=1)], {0: len(PAGES)})
    if indexed:
        for column in ("text_en", "text_de", "text_icu"):
            cut = TEXT_COLUMNS[column]
            stem = {"stem": True, "language": cut.stemmer} if cut.stemmer else {"stem": False}
            index = FTS(base_tokenizer=cut.base, remove_stop_words=False, with_position=False, **stem)
            table.lance.create_index(column, config=index)
        table.lance.create_index("names", config=FTS(stem=False, remove_stop_words=False, with_position=False))
        table.lance.create_index("name", config=BTree())
    return table


def opened(folder: Path, encoder: EncoderOf) -> Search:
    reader = Reader.open(TableSettings(lance_uri=str(folder)), consistency=timedelta(0))
    return Search(reader, encoder, "minilm-1")


@pytest.fixture(scope="module", params=[False, True], ids=["flat", "indexed"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("legs")
    filled(folder, indexed=request.param)
    return folder


@pytest.fixture
def encoder() -> EncoderOf:
    return EncoderOf()


@pytest.fixture
def search(place: Path, encoder: EncoderOf) -> Iterator[Search]:
    with opened(place, encoder) as ready:
        yield ready
        encoder.may.set()


def first(answer: Answer) -> str:
    return answer.hits[0].page


def states(answer: Answer) -> dict[str, str]:
    return {leg.name: leg.state for leg in answer.legs}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("ships that are guided", "enwiki:3"),
        ("Kristalle im Winter", "dewiki:1"),
        ("船只在夜间", "zhwiki:1"),
    ],
)
def test_words_are_found_in_the_column_of_every_language(search: Search, words: str, found: str) -> None:
    assert first(search.answer(words, mode="text")) == found


def test_with_an_index_words_are_found_in_their_other_forms(tmp_path: Path, encoder: EncoderOf) -> None:
    filled(tmp_path, indexed=True)
    with opened(tmp_path, encoder) as search:
        assert first(search.answer("guiding a tower", mode="text")) == "enwiki:3"
        assert first(search.answer("geschützt, ein Schutz: Häusern", mode="text")) == "dewiki:2"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Snow", "enwiki:1"),
        ("SNOW", "enwiki:1"),
        ("snow_leopard", "enwiki:2"),
        ("snow leopart", "enwiki:2"),
        ("pharos", "enwiki:3"),
        ("lihgthouse", "enwiki:3"),
        ("hauser", "dewiki:2"),
        ("灯塔", "zhwiki:1"),
    ],
)
def test_a_name_finds_its_page_first_in_any_case_and_but_for_a_letter_or_two(
    search: Search, name: str, found: str
) -> None:
    answer = search.answer(name, mode="text")
    assert first(answer) == found
    assert answer.hits[0].legs["names"] > 0


def test_a_title_comes_before_an_alias_and_both_before_their_like(search: Search) -> None:
    names = [(hit.page, hit.legs.get("names", 0.0)) for hit in search.answer("snow", mode="text").hits]
    assert names[0][0] == "enwiki:1"
    assert all(part < names[0][1] / 4 for _, part in names[1:])


def test_titles_as_typed_are_those_that_begin_so_the_popular_first(search: Search) -> None:
    assert search.titles("SN") == ["Snow leopard", "Snow"]
    assert search.titles("snow", k=1) == ["Snow leopard"]
    assert search.titles("häu") == ["Häuser"]
    assert search.titles("sn", filters=Filters(wiki=("dewiki",))) == []
    assert search.titles("%'_") == []


def test_each_leg_that_ran_says_how_long_it_took(search: Search) -> None:
    answer = search.answer("snow in winter")
    assert states(answer) == {"vector": "ran", "text": "ran", "names": "ran"}
    assert all(leg.seconds > 0 for leg in answer.legs)
    assert answer.hits[0].score == pytest.approx(sum(answer.hits[0].legs.values()), abs=1e-5)


def test_a_leg_that_is_late_is_said_and_the_others_answer(search: Search, encoder: EncoderOf) -> None:
    encoder.may.clear()
    answer = search.answer("Kristalle im Winter", deadline_ms=2_000)
    assert states(answer) == {"vector": "late", "text": "ran", "names": "ran"}
    assert first(answer) == "dewiki:1"


def test_a_leg_that_fails_is_said_and_the_others_answer(search: Search, encoder: EncoderOf) -> None:
    encoder.fails = True
    answer = search.answer("Kristalle im Winter")
    assert states(answer)["vector"] == "failed"
    assert "cannot embed" in next(leg.why for leg in answer.legs if leg.name == "vector")
    assert first(answer) == "dewiki:1"
    with pytest.raises(Fatal, match="cannot embed"):
        search.answer("Kristalle im Winter", mode="vector")


def test_without_a_model_meaning_is_left_out_and_said(place: Path) -> None:
    reader = Reader.open(TableSettings(lance_uri=str(place)))
    with Search(reader, None, "minilm-1") as search:
        answer = search.answer("Kristalle im Winter")
        assert states(answer)["vector"] == "left out"
        assert first(answer) == "dewiki:1"
        with pytest.raises(UsageError, match="without its model"):
            search.answer("x", mode="vector")


def test_more_like_this_leaves_its_own_page_out(search: Search) -> None:
    answer = search.similar("enwiki:1#0", k=3)
    assert len(answer.hits) == 3
    assert "enwiki:1" not in {hit.page for hit in answer.hits}
    scores = [hit.score for hit in answer.hits]
    assert scores == sorted(scores, reverse=True)


def test_the_plan_is_that_of_each_column_that_was_asked(search: Search) -> None:
    plan = search.answer("snow in winter", explain=True).plan
    assert set(plan) == {"vector", "text_en", "text_de", "text_icu"}
    assert all("LanceRead" in text for text in plan.values())


def test_weights_come_from_the_fence_by_the_language_of_the_row(tmp_path: Path, encoder: EncoderOf) -> None:
    table = filled(tmp_path, indexed=True)
    with opened(tmp_path, encoder) as search:
        assert any("not measured" in note for note in search.answer("winter").notes)
    weights = {"en": LegWeights(vector=0.0, text=1.0), "de": LegWeights(vector=1.0, text=0.0)}
    table.note(lambda fence: msgspec.structs.replace(fence, search=Measured(at="now", rows=6, weights=weights)))
    with opened(tmp_path, encoder) as search:
        answer = search.answer("winter")
        assert not any("not measured" in note for note in answer.notes)
        for hit in answer.hits:
            muted = "vector" if hit.language == "en" else "text"
            assert hit.language == "zh" or hit.legs.get(muted, 0.0) == 0.0


def test_while_one_language_has_its_index_and_another_waits_both_are_found(tmp_path: Path, encoder: EncoderOf) -> None:
    table = filled(tmp_path, indexed=False)
    table.lance.create_index("text_en", config=FTS(remove_stop_words=False, with_position=False))
    with opened(tmp_path, encoder) as search:
        assert first(search.answer("ships that are guided", mode="text")) == "enwiki:3"
        assert first(search.answer("Kristalle im Winter", mode="text")) == "dewiki:1"


def test_rows_that_came_after_the_index_are_found_at_once_while_they_are_few(
    tmp_path: Path, encoder: EncoderOf
) -> None:
    table = filled(tmp_path, indexed=True)
    with opened(tmp_path, encoder) as search:
        table.write([page(9, "enwiki:9", "Ferry", (), "A boat that crosses a strait.")], {0: 9})
        assert first(search.answer("crossing the strait", mode="text")) == "enwiki:9"
        assert first(search.answer("ferry", mode="text")) == "enwiki:9"
        assert search.answer("strait").notes == search.answer("snow").notes
        table.write([embedded("enwiki:10", 10, TAIL_ROWS)], {0: 10})
        assert not search.answer("crossing the strait", mode="text", filters=Filters(wiki=("enwiki",))).hits


def test_rows_that_were_moved_meanwhile_are_read_by_their_ids(place: Path) -> None:
    reader = Reader.open(TableSettings(lance_uri=str(place)), consistency=timedelta(0))
    read = reader.lance.search().with_row_id(True).select(["id"]).where("n >= 0").to_arrow().to_pylist()
    places = {row["id"]: row["_rowid"] for row in read}
    moved = dict(zip(places, [*list(places.values())[1:], 2**40], strict=True))
    for wanted in (places, moved, dict.fromkeys(places, -1)):
        found = rows_at(reader, wanted, ["id", "title"])
        assert {key: row["title"] for key, row in found.items()} == {f"{of[0]}#0": of[1] for of in PAGES}
    assert rows_at(reader, {}, ["id"]) == rows_at(reader, {"enwiki:77#0": -1}, ["id"]) == {}


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
def test_a_row_that_is_not_live_is_never_shown_whatever_somebody_gave_it(
    tmp_path: Path, encoder: EncoderOf, mode: Mode
) -> None:
    table = filled(tmp_path, indexed=False)
    like = table.lance.search().where("id = 'enwiki:1#0'").to_arrow().to_pylist()[0]
    for number, name in ((None, "mine"), (-7, "other"), (5, "dead")):
        row = like | {"id": f"{name}#1", "n": number, "start": None, "end": None}
        table.lance.add(pa.Table.from_pylist([row], schema=table.lance.schema))
    with opened(tmp_path, encoder) as search:
        for filters in (Filters(), Filters(wiki=("enwiki",))):
            answer = search.answer("snow that falls in winter", mode=mode, filters=filters)
            assert first(answer) == "enwiki:1"
            assert {hit.id for hit in answer.hits} <= {f"{key}#0" for key, *_ in PAGES}
            assert set(states(answer).values()) == {"ran"}
        assert search.similar("enwiki:1#0").hits[0].id in {f"{key}#0" for key, *_ in PAGES}


def test_a_filter_that_keeps_few_rows_finds_them_however_far_the_question_is(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    table.write([embedded(f"awiki:{n}", n, 20) for n in range(1, 101)], {0: 101})
    table.write([embedded(f"bwiki:{n}", n, 1) for n in range(200, 230)], {0: 230})
    table.lance.create_index("vector", config=IvfRq(distance_type="cosine", num_bits=4, num_partitions=40))
    with opened(tmp_path, EncoderOf()) as search:
        answer = search.answer("anything", mode="vector", k=30, filters=Filters(wiki=("bwiki",)))
        assert len(answer.hits) == 30


def test_an_alias_of_many_words_is_found_as_it_is(tmp_path: Path, encoder: EncoderOf) -> None:
    table = filled(tmp_path, indexed=False)
    alias = "the tall house with a lamp that stands by the sea"
    table.write([page(9, "enwiki:9", "Beacon", (alias,), "Another thing.")], {0: 9})
    table.lance.create_index("names", config=FTS(stem=False, remove_stop_words=False, with_position=False))
    with opened(tmp_path, encoder) as search:
        answer = search.answer(alias.title(), mode="text")
        assert first(answer) == "enwiki:9"
        assert answer.hits[0].legs["names"] > 0


def test_a_name_of_many_words_may_have_two_that_are_misspelt(tmp_path: Path, encoder: EncoderOf) -> None:
    table = filled(tmp_path, indexed=False)
    table.write([page(9, "enwiki:9", "Harbour of the northern wind", (), "Another thing.")], {0: 9})
    table.lance.create_index("names", config=FTS(stem=False, remove_stop_words=False, with_position=False))
    with opened(tmp_path, encoder) as search:
        answer = search.answer("harbur of the nothern wind", mode="text")
        assert first(answer) == "enwiki:9"
        assert answer.hits[0].legs["names"] > 0


def test_a_name_is_found_among_those_that_a_filter_keeps(tmp_path: Path, encoder: EncoderOf) -> None:
    table = filled(tmp_path, indexed=False)
    table.write([page(9, "dewiki:9", "Lighthouse", (), "Ein anderes Ding.")], {0: 9})
    table.lance.create_index("names", config=FTS(stem=False, remove_stop_words=False, with_position=False))
    with opened(tmp_path, encoder) as search:
        for name in ("Lighthouse", "lihgthouse"):
            answer = search.answer(name, mode="text", filters=Filters(wiki=("dewiki",)))
            assert first(answer) == "dewiki:9"
            assert answer.hits[0].legs["names"] > 0
            assert {hit.wiki for hit in answer.hits} == {"dewiki"}


def test_a_column_that_must_wait_for_its_index_is_said(
    place: Path, encoder: EncoderOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "FLAT_ROWS", 1)
    monkeypatch.setattr(state, "WHOLE_ROWS", 1)
    with opened(place, encoder) as search:
        looked = search.answer("winter", mode="text")
    said = " ".join([*looked.notes, *(leg.why for leg in looked.legs)])
    unindexed = not any("_idx" in index.name for index in opened(place, encoder).reader.lance.list_indices())
    assert ("no full-text index yet" in said) == unindexed


def test_a_leg_that_hangs_keeps_neither_the_others_nor_the_end_of_the_program() -> None:
    pools = {leg: DaemonPool(2, leg) for leg in ("vector", "text")}
    never = threading.Event()
    hung = [pools["vector"].submit(never.wait) for _ in range(5)]
    assert pools["text"].submit(lambda: "an answer").result(10) == "an answer"
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("vector-"))
    for pool in pools.values():
        pool.shutdown()
    assert not any(run.done() for run in hung)
    with pytest.raises(UsageError, match="closed"):
        pools["text"].submit(lambda: "late")
    never.set()
