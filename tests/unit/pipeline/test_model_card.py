"""A model's languages come from its card, and a corpus in others is told, with a model to take instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.known_models import KNOWN
from pipeline.model_card import MAX_CARD_BYTES, card_languages, languages_warning, listed, model_for, unlisted
from tests import ROOT

DOCUMENT = ROOT / "docs" / "models.md"


def card(folder: Path, text: str) -> Path:
    (folder / "README.md").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("front", "codes"),
    [
        ("language: en", ("en",)),
        ("language: no", ("no",)),
        ("license: mit\nlanguage:\n- multilingual\n- de\n- nb\n- zh-cn\nother:\n- fr", ("de", "no", "zh")),
        ("language:\n  - 'en'\n  - \"pt-br\"  # two\n", ("en", "pt")),
        ("language: [en, de]", ("en", "de")),
        ("language: multilingual", ()),
        ("language:", ()),
        ("languages: en", ()),
        ("tags:\n- language: en", ()),
        ("language: ['<script>', en; DROP]", ()),
    ],
)
def test_the_field_language_is_read_however_it_is_written(front: str, codes: tuple[str, ...]) -> None:
    assert listed(front) == codes


def test_a_card_counts_before_what_we_know_and_a_text_that_is_none_says_nothing(tmp_path: Path) -> None:
    known = "sentence-transformers/all-MiniLM-L6-v2"
    assert card_languages(tmp_path, known) == ("en",)
    assert card_languages(tmp_path, "someone/a-model") == ()
    assert card_languages(card(tmp_path, "---\nlanguage: fr\n---\nlanguage: de\n"), known) == ("fr",)
    assert card_languages(card(tmp_path, "# Mine\nlanguage: de\n"), "someone/a-model") == ()
    assert card_languages(card(tmp_path, "---\nlicense: mit\n---\nlanguage: de\n"), "someone/a-model") == ()
    (tmp_path / "README.md").write_bytes(b"---\n\xff\x00" + b"x" * 2 * MAX_CARD_BYTES + b"\nlanguage: de\n")
    assert card_languages(tmp_path, "someone/a-model") == ()


def test_only_languages_that_a_card_leaves_out_are_told() -> None:
    assert unlisted(["en", "de", "nn", "commons"], ("en", "no")) == ["de"]
    assert unlisted(["de"], ()) == [], "a card that lists none"
    assert languages_warning("m", ("en",), ["en", ""]) == ""
    said = languages_warning("m", ("en",), ["ar", "en", "th"])
    assert said.startswith("m is a model for en, not for ar, th:")
    assert "--model ibm-granite/granite-embedding-97m-multilingual-r2" in said


def test_the_model_to_take_lists_all_languages_where_one_does() -> None:
    assert model_for(["en"]).name == "sentence-transformers/all-MiniLM-L6-v2"
    assert model_for(["en", "ta"]).name == "intfloat/multilingual-e5-small"
    assert model_for(["xx"]).name in KNOWN


def test_the_table_of_models_in_the_documents_is_what_the_warnings_go_by() -> None:
    rows = re.findall(
        r"^\| \[([\w./-]+)\]\(\S+\) \| (\d+) \| (\d+)[^|]*\| ([^|]*) \| ([^|]*) \|", DOCUMENT.read_text(), re.M
    )
    there = {name: (int(dimension), int(count), licence.strip()) for name, dimension, count, _, licence in rows}
    for known in KNOWN.values():
        assert there[known.name] == (known.dimension, len(known.languages), known.licence)
