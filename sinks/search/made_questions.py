"""Questions made from the table's own pages, for which the right page is known. Pure.

Four kinds. `words`: every third word of a stretch of the text, which a leg finds as far as it knows the language; the
weights of the legs come from them. `title`, `typo` and `sentence`: known items, for how well each mode of search finds
them. All of them use the page's own words, so they tell nothing of questions in other words.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from sinks.languages import ICU, text_column

Kind = Literal["words", "title", "typo", "sentence"]

STRETCH_WORDS = 18
EVERY = 3
LEAST_WORDS = 9
"""A shorter text gives fewer than three words to ask for."""

STRETCH_CHARACTERS = 40
"""Of scripts without blanks: `KEPT` of every `STEP` characters."""
STEP = 8
KEPT = 4
LEAST_CHARACTERS = 24

SENTENCE = range(40, 301)
"""Characters of a sentence that is a question."""
TYPO_LETTERS = 4
"""A shorter word is another word with one wrong letter."""

_SENTENCE_END = re.compile(r"(?<=[.!?\u0964\u061f\u06d4])\s+|(?<=[\u3002\uff01\uff1f])\s*|\n+")
_WORD = re.compile(rf"[^\W\d_]{{{TYPO_LETTERS},}}")


@dataclass(frozen=True, slots=True)
class SampledPage:
    """A page of the table, with the text of one of its chunks."""

    page: str
    language: str
    """`languages.language_of`."""
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class MadeQuestion:
    """A question and the page that it was made from."""

    kind: Kind
    text: str
    page: str
    title: str
    language: str


def made_questions(pages: Iterable[SampledPage], kind: Kind, seed: int = 0) -> list[MadeQuestion]:
    """One question of this kind a page, left out where the page gives none; the same ones for the same seed."""
    found = []
    for page in pages:
        text = _MAKERS[kind](page, random.Random(f"{seed}/{kind}/{page.page}"))  # noqa: S311 - no secret
        if text:
            found.append(MadeQuestion(kind, text, page.page, page.title, page.language))
    return found


def some_words(text: str, language: str, draw: random.Random) -> str:
    """Every third word of a random stretch of 18; for scripts without blanks 4 of every 8 characters of 40.

    Empty for a text that is too short. On nine languages these told which leg knows the language (MRR@10 of the vector
    leg between .02 and .65, of the text leg between .93 and 1, Thai .19).
    """
    if text_column(language, text) == ICU:
        characters = "".join(text.split())
        if len(characters) < LEAST_CHARACTERS:
            return ""
        start = draw.randrange(max(1, len(characters) - STRETCH_CHARACTERS + 1))
        stretch = characters[start : start + STRETCH_CHARACTERS]
        return " ".join(stretch[at : at + KEPT] for at in range(0, len(stretch), STEP))
    words = text.split()
    if len(words) < LEAST_WORDS:
        return ""
    start = draw.randrange(max(1, len(words) - STRETCH_WORDS + 1))
    return " ".join(words[start : start + STRETCH_WORDS : EVERY])


def a_sentence(text: str, draw: random.Random) -> str:
    """One of the text's sentences, of a length that somebody might paste; empty when there is none."""
    sentences = [part for part in map(str.strip, _SENTENCE_END.split(text)) if len(part) in SENTENCE]
    return draw.choice(sentences) if sentences else ""


def with_a_typo(name: str, draw: random.Random) -> str:
    """The name with one letter wrong: left out, doubled, swapped with the next, or another one of the same name.

    Never the first letter of a word. Empty when no word has four letters.
    """
    words = list(_WORD.finditer(name))
    if not words:
        return ""
    word = draw.choice(words)
    at = draw.randrange(word.start() + 1, word.end())
    letter, letters = name[at], sorted({c for c in name.lower() if c.isalpha()})
    ways = [name[:at] + name[at + 1 :], name[:at] + letter + name[at:]]
    if at + 1 < word.end() and name[at + 1] != letter:
        ways.append(name[:at] + name[at + 1] + letter + name[at + 2 :])
    if others := [other for other in letters if other != letter.lower()]:
        ways.append(name[:at] + draw.choice(others) + name[at + 1 :])
    return draw.choice(ways)


_MAKERS: MappingProxyType[Kind, Callable[[SampledPage, random.Random], str]] = MappingProxyType(
    {
        "words": lambda page, draw: some_words(page.text, page.language, draw),
        "title": lambda page, draw: page.title,
        "typo": lambda page, draw: with_a_typo(page.title, draw),
        "sentence": lambda page, draw: a_sentence(page.text, draw),
    }
)
