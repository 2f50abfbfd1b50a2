"""Search on a terminal: its words are found again, it says how it came about, and the prompt takes commands."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from pipeline.errors import CirrostreamError, Exit
from pipeline.terminal import Console
from sinks.search import Answer, Hit, LegReport, Passage
from sinks.search.command_settings import SearchSettings
from sinks.search.highlight import SNIPPET, clean, snippet, spans_of, words_of
from sinks.search.prompt import converse
from sinks.search.screen import credits_of, show

LONG = "Nothing of interest is told here. " * 20 + "The lighthouse stands on a rock. " + "And more of it follows. " * 20


def marked(text: str, question: str) -> list[str]:
    return [text[start:end] for start, end in spans_of(text, words_of(question))]


@pytest.mark.parametrize(
    ("question", "text", "found"),
    [
        ("why does snow reflect?", "Snow reflects; a reflection. Snowball.", ["Snow", "reflects", "reflection"]),
        ("Straße cafe", "Die STRASSE zum Café.", ["STRASSE", "Café"]),
        ("to be or not to be", "To be, that is", ["To", "be"]),
        ("B-52 in 1999", "A B52 and a B 52 of 1999", ["52", "1999"]),
        ("雪崩", "山上的雪崩很危险", ["雪崩"]),
        ("हिम जल", "हिम जल का ठोस रूप", ["हिम", "जल"]),
        ("?!", "What?!", []),
        ("", "text", []),
    ],
)  # fmt: skip
def test_words_of_a_question_are_found_in_their_forms(question: str, text: str, found: list[str]) -> None:
    assert marked(text, question) == found


def test_a_snippet_is_the_stretch_with_the_words_and_else_the_beginning() -> None:
    shown = snippet(LONG, words_of("who built the lighthouse?"))
    assert "The lighthouse stands on a rock." in shown
    assert shown[0] == shown[-1] == "…"
    assert len(shown) <= SNIPPET + 2
    assert snippet(LONG, words_of("zebra")) == snippet(LONG)
    assert snippet(LONG).startswith("Nothing of interest")
    assert snippet("short", ["zebra"]) == "short"
    assert clean(" two\n\n words ") == "two words"


def hit(rank: int = 1, **changed: Any) -> Hit:
    given: dict[str, Any] = {
        "rank": rank, "score": 1.5, "id": f"w:{rank}#0", "page": f"w:{rank}", "wiki": "w", "title": f"Page {rank}",
        "url": f"https://example.org/{rank}", "text": "Snow falls.", "n": 0, "n_chunks": 1, "start": 0, "end": 11,
        "revision": None, "timestamp": "", "source": "example.org", "licence": "CC BY-SA 4.0",
    }  # fmt: skip
    return Hit(**{**given, **changed})


def answer(*hits: Hit, **changed: Any) -> Answer:
    given: dict[str, Any] = {"question": "snow", "table": "t", "model": "m", "mode": "hybrid", "k": 10, "seconds": 0.05}
    return Answer(**{**given, "hits": list(hits), **changed})


def shown(given: Answer, *, terminal: bool = False) -> str:
    screen = io.StringIO()
    show(
        given, Console(file=screen, width=100, force_terminal=terminal, color_system="truecolor" if terminal else None)
    )
    return screen.getvalue()


def test_a_page_is_shown_with_its_passages_and_where_its_text_is_from() -> None:
    passage = Passage(id="w:1#2", n=2, start=5, end=9, text="More snow there.", score=0.7)
    lines = [line.rstrip() for line in shown(answer(hit(passages=[passage]))).splitlines()]
    assert lines == [
        "1  1.500  Page 1  https://example.org/1",
        "          Snow falls.",
        "          · More snow there.",
        "1 page in 50 ms",
        "Text of example.org: CC BY-SA 4.0",
    ]


def test_a_terminal_gets_the_words_marked_and_a_link_to_the_passage() -> None:
    link = "https://example.org/1#:~:text=Snow%20falls"
    screen = shown(answer(hit(link=link)), terminal=True)
    assert re.search(r"\x1b\[[\d;]*33mSnow\x1b\[0m", screen)
    assert f";{link}\x1b\\" in screen
    assert "https://example.org/1\x1b" in screen


def test_it_says_which_legs_ran_which_did_not_and_why() -> None:
    legs = [
        LegReport(name="text", state="ran", seconds=0.012, candidates=3),
        LegReport(name="vector", state="late", why="had not answered at the deadline"),
        LegReport(name="rerank", state="failed", why="out\x1b[2J of memory"),
        LegReport(name="names", state="left out", why="no name has 14 words"),
    ]
    screen = shown(answer(hit(), legs=legs, notes=["3 rows are not in the full-text index yet"]))
    assert "1 page in 50 ms: text 12 ms; left out: names (no name has 14 words)\n" in screen
    assert "the vector leg was late, this answer is without it: had not answered at the deadline\n" in screen
    assert "the rerank leg failed, this answer is without it: out\ufffd[2J of memory\n" in screen
    assert "3 rows are not in the full-text index yet\n" in screen


def test_explain_shows_each_legs_part_and_the_plans() -> None:
    screen = shown(answer(hit(legs={"vector": 1.25, "text": 0.25}), plan={"vector": "KNN: k=10\x9b\n  Read"}))
    assert "w:1#0: vector 1.250 + text 0.250" in screen
    assert "LanceDB's plan of the vector leg:\nKNN: k=10\ufffd\n  Read\n" in screen
    assert "vector 1.250" not in shown(answer(hit(legs={"vector": 1.25})))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "nothing found\n"),
        ({"wiki": "awiki", "filters": {"wiki": ["awiki"]}}, "nothing found in awiki\n"),
        (
            {"filters": {"since": "2026-11-15", "category": ["A", "B\x1b"], "metadata": {"year": [2024]}}},
            "nothing found with since 2026-11-15; category A or B\ufffd; metadata year=2024\n",
        ),
    ],
)
def test_nothing_found_is_said_with_the_filters(changed: dict[str, Any], said: str) -> None:
    assert shown(answer(**changed)).startswith(said)


class Recorded:
    """A search that notes how it is asked, and finds two pages."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, int, bool]] = []

    def answer(self, question: str, *, k: int, mode: str, by: str, explain: bool, **_: Any) -> Answer:
        self.asked.append((question, mode, by, k, explain))
        return answer(hit(1), hit(2))

    def similar(self, chunk: str, *, k: int, by: str, **_: Any) -> Answer:
        self.asked.append((f"like {chunk}", "", by, k, False))
        return answer(hit(3))


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> Recorded:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    ready = Recorded()
    assert converse(ready, SearchSettings()) == Exit.DONE  # type: ignore[arg-type]
    return ready


def test_commands_at_the_prompt_change_how_the_next_question_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (
        "one",
        ":mode text",
        ":by chunk",
        ":k 3",
        ":explain",
        "two",
        ":like 2",
        ":like w:9#1",
        ":help",
        ":quit",
        "x",
    )
    ready = typed(monkeypatch, *lines)
    assert ready.asked == [
        ("one", "hybrid", "page", 10, False),
        ("two", "text", "chunk", 3, True),
        ("like w:2#0", "", "chunk", 3, False),
        ("like w:9#1", "", "chunk", 3, False),
    ]
    assert ":mode hybrid" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (":mode dense", ":mode dense: give one of hybrid, vector, text"),
        (":by", ":by : give one of page, chunk"),
        (":k many", ":k many: give a number"),
        (":k 0", "k is 0: 1 to 1000 hits"),
        (":like 1", ":like 1: the last answer has 0 hits"),
        (":like ٣", ":like ٣: give a number"),
        (":drop\x1b[2J table", "there is no command :drop\ufffd[2J; :help shows"),
        (":", "there is no command :; :help"),
    ],
)
def test_a_wrong_command_is_told_and_the_prompt_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    assert len(typed(monkeypatch, line, "a question").asked) == 1
    assert f"error: {said}" in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["CIRROSTREAM_SINCE", "CIRROSTREAM_SNAPSHOT", "CIRROSTREAM_CATEGORY"])
def test_a_producers_variable_is_no_filter(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "latest")
    assert SearchSettings().filters().shown() == {}


def test_flags_and_variables_of_filters_take_one_value_or_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRROSTREAM_WIKI", "enwiki")
    monkeypatch.setenv("CIRROSTREAM_ONLY_LANGUAGE", "")
    monkeypatch.setenv("CIRROSTREAM_ONLY_CATEGORY", "Paris, Texas (film)")
    chosen = SearchSettings(only_namespace=["0", "14"], only_metadata=["year=2024", "year=2025"])
    assert chosen.filters().shown() == {
        "wiki": ["enwiki"],
        "category": ["Paris, Texas (film)"],
        "namespace": [0, 14],
        "metadata": {"year": ["2024", "2025"]},
    }
    with pytest.raises(CirrostreamError, match="--metadata 'year': give a field"):
        SearchSettings(only_metadata=["year"]).filters()


def test_a_licence_of_a_document_makes_no_line_of_its_own() -> None:
    forged = "CC0\nerror: the table is damaged"
    [line] = credits_of([hit(licence=forged, source="x\ny")])
    assert "\n" not in line
