"""Lists of references go, and nothing else does."""

from __future__ import annotations

import pytest

from producers.wikimedia.references import without_references

TEXT = "Amber is resin. History It was traded. Notes First note. References Smith, 1990. External links A museum"
HEADINGS = ["History", "Notes", "References", "External links"]


def test_reference_sections_go_and_those_around_them_stay() -> None:
    assert without_references(TEXT, HEADINGS) == ("Amber is resin. History It was traded. External links A museum")


@pytest.mark.parametrize(
    "headings",
    [
        [],
        ["History", "Legacy", "Notes", "References", "External links"],
        ["References", "History"],
    ],
)
def test_a_text_whose_headings_cannot_be_told_keeps_every_word(headings: list[str]) -> None:
    assert without_references(TEXT, headings) == TEXT


def test_a_text_without_its_headings_keeps_the_word_references_in_its_prose() -> None:
    text = "The book has References and Notes of its own. It was read."
    assert without_references(text, ["History", "References"]) == text


def test_a_heading_is_a_word_of_its_own() -> None:
    assert without_references("See NotesApp here", ["Notes"]) == "See NotesApp here"


def test_headings_of_other_languages_are_known() -> None:
    assert without_references("Text. Einzelnachweise Buch.", ["Einzelnachweise"]) == "Text."
