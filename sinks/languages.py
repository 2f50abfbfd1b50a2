"""Languages of texts: the table's full-text columns, and which of them a text goes to. Pure.

LanceDB has one full-text index a column, and an index has one tokenizer and one stemmer. So a text stands in the column
of its language and nowhere else, null in all others: five languages in one table found .985 of Arabic questions this
way, .934 with one column for all. Two columns are for the rest: `text_icu` for scripts that put no blanks between
words, where a tokenizer of words finds nothing (Chinese .156, Thai .736; ICU .992 and .996), and `text_words`.

Stop words stay in every index: a question of nothing but stop words must find something, and BM25 weighs them down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

PREFIX = "text_"
WORDS = "text_words"
ICU = "text_icu"

STEMMERS = MappingProxyType(
    {
        "ar": "Arabic",
        "da": "Danish",
        "de": "German",
        "el": "Greek",
        "en": "English",
        "es": "Spanish",
        "fi": "Finnish",
        "fr": "French",
        "hu": "Hungarian",
        "it": "Italian",
        "nl": "Dutch",
        "no": "Norwegian",
        "pt": "Portuguese",
        "ro": "Romanian",
        "ru": "Russian",
        "sv": "Swedish",
        "ta": "Tamil",
        "tr": "Turkish",
    }
)
"""Language code -> LanceDB's name of the Snowball stemmer, for all it has."""

_SAME = {"nb": "no", "nn": "no", "simple": "en"}
"""Codes of Wikimedia whose texts another code's stemmer fits."""

SHARE = 0.2
"""Of a text's letters, from which on it counts as of a script without blanks."""
LOOKED_AT = 300
"""Characters of a text that tell its script."""

# Han with its extensions, kana, bopomofo, Thai, Lao, Burmese, Khmer, Tibetan, Javanese, as RE2 writes them.
_WITHOUT_BLANKS = (
    r"[\x{0e00}-\x{0eff}\x{0f00}-\x{0fff}\x{1000}-\x{109f}\x{1780}-\x{17ff}\x{3005}-\x{3007}\x{3040}-\x{312f}"
    r"\x{31a0}-\x{31ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{a980}-\x{a9df}\x{f900}-\x{faff}\x{20000}-\x{3ffff}]"
)
_NO_LETTERS = r"[^\pL\p{Nl}\p{No}]+"


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """The rule by which a full-text column cuts its texts into terms."""

    base: Literal["simple", "icu"] = "simple"
    stemmer: str | None = None
    """LanceDB's name of a language; None: words stay as they are."""


TEXT_COLUMNS = MappingProxyType(
    {f"{PREFIX}{code}": Tokenizer(stemmer=name) for code, name in STEMMERS.items()}
    | {WORDS: Tokenizer(), ICU: Tokenizer("icu")}
)
"""Full-text column -> its tokenizer, for every table."""


def language_of(language: str | None, wiki: str | None) -> str:
    """The language's code: what the source says, else the wiki's name without `wiki`; "" where neither tells.

    >>> language_of(None, "dewiki"), language_of("pt-BR", "books"), language_of("", "books")
    ('de', 'pt', '')
    """
    code = (language or "").lower().replace("_", "-").partition("-")[0]
    if not code and wiki and (place := wiki.find("wik")) > 0:
        code = wiki[:place].partition("_")[0]
    return _SAME.get(code, code)


def counts_as(code: str) -> tuple[str, ...]:
    """Other codes whose texts `language_of` takes for this language.

    >>> counts_as("no")
    ('nb', 'nn')
    """
    return tuple(other for other, same in _SAME.items() if same == code)


def text_column(language: str, text: str) -> str:
    """The column for a text in this language (`language_of`)."""
    return text_columns([language], pa.array([0]), pa.array([text], pa.string()))[0]


def text_columns(languages: Sequence[str], places: pa.Array, texts: pa.Array) -> list[str]:
    """The column of each text.

    Args:
        languages: codes (`language_of`), each once.
        places: of each text's language among them.
        texts: as many as there are places.
    """
    of_language = np.array([f"{PREFIX}{code}" if code in STEMMERS else WORDS for code in languages], object)
    found = of_language[places.to_numpy(zero_copy_only=False)]
    found[without_blanks(texts)] = ICU
    columns: list[str] = found.tolist()
    return columns


def without_blanks(texts: pa.Array) -> NDArray[np.bool_]:
    """True for texts of a script that puts no blanks between words, told by their first `LOOKED_AT` characters.

    All of them at once: 10,000 texts take 15 ms, Chinese ones 80; one by one 15 and 700.
    """
    found = np.zeros(len(texts), np.bool_)
    rows = _where(pc.invert(pc.string_is_ascii(texts)))
    heads = pc.utf8_slice_codeunits(texts.take(rows), 0, LOOKED_AT)
    some = _where(pc.match_substring_regex(heads, _WITHOUT_BLANKS))
    rows, heads = rows[some], heads.take(some)
    letters = pc.utf8_length(pc.replace_substring_regex(heads, _NO_LETTERS, ""))
    others = pc.utf8_length(pc.replace_substring_regex(heads, f"{_WITHOUT_BLANKS}+", ""))
    count = pc.subtract(pc.utf8_length(heads), others)
    found[rows] = np.asarray(count) > SHARE * np.asarray(letters)
    return found


def _where(condition: pa.BooleanArray) -> NDArray[np.int64]:
    return np.flatnonzero(condition.fill_null(False).to_numpy(zero_copy_only=False))
