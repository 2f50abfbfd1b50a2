"""Languages of texts: the table's full-text columns, and which of them a text goes to. Pure.

LanceDB has one full-text index a column, and an index has one tokenizer and one stemmer. So a text stands in the column
of its language and nowhere else, null in all others: five languages in one table found .985 of Arabic questions this
way, .934 with one column for all. Two columns are for the rest: `text_icu` for scripts that put no blanks between
words, where a tokenizer of words finds nothing (Chinese .156, Thai .736; ICU .992 and .996), and `text_words`.

Stop words stay in every index: a question of nothing but stop words must find something, and BM25 weighs them down.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

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

# Han with its extensions, kana, bopomofo, Thai, Lao, Burmese, Khmer, Tibetan, Javanese.
_WITHOUT_BLANKS = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u312f\u31a0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua980-\ua9df\uf900-\ufaff\U00020000-\U0003ffff]"
)
_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """How a full-text column cuts its texts into terms."""

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


def text_column(language: str, text: str) -> str:
    """The column for a text in this language (`language_of`)."""
    head = text[:LOOKED_AT]
    if not head.isascii() and _is_without_blanks(head):
        return ICU
    return f"{PREFIX}{language}" if language in STEMMERS else WORDS


def _is_without_blanks(text: str) -> bool:
    without = len(_WITHOUT_BLANKS.findall(text))
    return without > 0 and without > SHARE * len(_LETTER.findall(text))
