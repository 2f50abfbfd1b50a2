"""Questions made from pages: right kinds, right scripts, the same ones for the same seed."""

from __future__ import annotations

import itertools
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.search.made_questions import SampledPage, a_sentence, made_questions, some_words, with_a_typo

ENGLISH = " ".join(f"word{number}" for number in range(60))
THAI = "กขคงจฉชซฌญฎฏฐฑฒณดตถทธนบปผฝพฟภมยรลวศษสหฬอฮ" * 3


def draw(seed: int = 0) -> random.Random:
    return random.Random(seed)


def page(
    text: str = ENGLISH, title: str = "Lighthouse keeper", language: str = "en", key: str = "enwiki:1"
) -> SampledPage:
    return SampledPage(key, language, title, text)


def test_every_third_word_of_a_stretch_of_eighteen() -> None:
    words = some_words(ENGLISH, "en", draw()).split()
    numbers = [int(word.removeprefix("word")) for word in words]
    assert len(words) == 6
    assert {after - before for before, after in itertools.pairwise(numbers)} == {3}


def test_stretches_begin_anywhere_in_the_text() -> None:
    firsts = {some_words(ENGLISH, "en", draw(seed)).split()[0] for seed in range(300)}
    assert {"word0", "word42"} <= firsts
    assert not {"word43"} & firsts


def test_a_script_without_blanks_is_asked_by_its_characters() -> None:
    pieces = some_words(THAI, "th", draw()).split()
    assert [len(piece) for piece in pieces] == [4] * 5
    assert all(piece in THAI for piece in pieces)


@pytest.mark.parametrize("text", ["", "too few words", "กขคงจฉ"])
def test_a_short_text_gives_no_words(text: str) -> None:
    assert some_words(text, "", draw()) == ""


def test_a_sentence_is_one_of_the_text_and_of_a_length_to_paste() -> None:
    right = "The keeper lit the lamp each evening at dusk. "
    text = f"Short. {right}{'x' * 400}. Why not?"
    assert a_sentence(text, draw()) == right.strip()


def test_sentences_of_chinese_and_hindi_end_with_their_own_marks() -> None:
    chinese = "灯塔看守人每天傍晚点亮灯火并记录经过的船只以及天气情况和潮汐高度还有风向与云层变化。"
    hindi = "दीपस्तंभ का रखवाला हर शाम को दीया जलाता था और जहाज़ गिनता था।"
    assert {a_sentence(chinese * 2 + "短。", draw(seed)) for seed in range(9)} == {chinese}
    assert a_sentence(f"{hindi} छोटा।", draw()) == hindi


@given(st.text(string.ascii_letters + " éß字ह", max_size=40), st.integers(0, 99))
def test_a_typo_is_one_letter_away_and_never_the_first_of_a_word(name: str, seed: int) -> None:
    typed = with_a_typo(name, draw(seed))
    if not typed:
        assert not any(len(word) >= 4 for word in name.split())
        return
    assert typed != name
    assert abs(len(typed) - len(name)) <= 1
    assert typed[0] == name[0]
    same = sum(1 for a, b in zip(typed, name, strict=False) if a == b)
    tail = sum(1 for a, b in zip(reversed(typed), reversed(name), strict=False) if a == b)
    assert same + tail >= len(name) - 2


def test_titles_too_short_to_be_misspelt_give_no_question() -> None:
    assert made_questions([page(title="Io"), page(title="", key="enwiki:2")], "typo") == []


def test_the_same_seed_gives_the_same_questions_in_any_order() -> None:
    pages = [page(key=f"enwiki:{number}") for number in range(30)]
    for kind in ("words", "title", "typo", "sentence"):
        once = made_questions(pages, kind, 7)
        again = made_questions(pages[::-1], kind, 7)
        assert once == again[::-1]
    assert made_questions(pages, "words", 7) != made_questions(pages, "words", 8)


def test_a_question_knows_its_page_title_and_language() -> None:
    (question,) = made_questions([page()], "title")
    assert (question.text, question.page, question.title, question.language) == (
        "Lighthouse keeper",
        "enwiki:1",
        "Lighthouse keeper",
        "en",
    )


def test_pages_without_title_or_text_are_left_out() -> None:
    assert made_questions([page(title="")], "title") == []
    assert made_questions([page(text="")], "words") == []
