"""Languages: every text stands in one full-text column, that of its language or of its script."""

from __future__ import annotations

import pytest

from sinks.languages import ICU, TEXT_COLUMNS, WORDS, language_of, text_column


@pytest.mark.parametrize(
    ("language", "wiki", "code"),
    [
        ("de", "dewiki", "de"),
        ("", "dewiki", "de"),
        (None, "ptwikibooks", "pt"),
        ("pt-BR", "books", "pt"),
        ("zh_Hant", "", "zh"),
        ("nn", "nnwiki", "no"),
        (None, "simplewiki", "en"),
        (None, "zh_min_nanwiki", "zh"),
        (None, "wiki", ""),
        ("", "notes", ""),
        (None, None, ""),
    ],
)
def test_the_language_is_what_the_source_says_or_the_wikis_name(
    language: str | None, wiki: str | None, code: str
) -> None:
    assert language_of(language, wiki) == code


@pytest.mark.parametrize(
    ("language", "text", "column"),
    [
        ("de", "Häuser am Fluss", "text_de"),
        ("en", "", "text_en"),
        ("hi", "हिन्दी विश्व की भाषा है", WORDS),
        ("", "no one knows which language", WORDS),
        ("zh", "云是由水滴组成的", ICU),
        ("th", "เมฆประกอบด้วยหยดน้ำ", ICU),
        ("en", "The word 云 means cloud, and so it has a single letter of that script.", "text_en"),
        ("en", "云是由水滴组成的 (cloud)", ICU),
        ("ko", "구름은 물방울로 이루어져 있다", WORDS),
    ],
)
def test_a_text_goes_to_the_column_of_its_language_or_its_script(language: str, text: str, column: str) -> None:
    assert text_column(language, text) == column
    assert column in TEXT_COLUMNS
