"""Names of pages, folded: what people type and what a title says are the same word by word."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.names import MAX_NAME, MAX_NAMES, folded, folded_names


@pytest.mark.parametrize(
    ("name", "as_compared"),
    [
        ("Émile_Zola", "emile zola"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("  two \t words\n", "two words"),
        ("ﬁne", "fine"),
        ("İstanbul", "istanbul"),
        ("हिन्दी", unicodedata.normalize("NFC", "हिन्दी")),
        ("Łódź", "łodz"),
        ("Ｗｉｋｉ", "wiki"),
        ("a\x00b", "a b"),
        ("", ""),
        ("́", ""),
    ],
)
def test_case_accents_and_forms_make_no_difference(name: str, as_compared: str) -> None:
    assert folded(name) == as_compared


@given(st.text(max_size=400))
def test_a_folded_name_is_folded_and_bounded(name: str) -> None:
    once = folded(name)
    assert folded(once) == once or len(once) > MAX_NAME
    assert folded(unicodedata.normalize("NFD", name[:40])) == folded(unicodedata.normalize("NFC", name[:40]))
    assert "\n" not in once


def test_all_names_of_a_page_are_lines_and_none_twice() -> None:
    assert folded_names("Water", ["H2O", "WATER", "", "Eau_douce"]) == "water\nh2o\neau douce"


def test_a_page_with_very_many_names_keeps_the_first() -> None:
    names = folded_names("title", [f"alias number {n:06}" for n in range(10_000)])
    assert len(names) <= MAX_NAMES
    assert names.startswith("title\nalias number 000000\n")
