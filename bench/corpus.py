"""Made-up pages for tables of a million rows: words as frequent as in English, titles, aliases, categories, vectors.

The same seed makes the same pages. The ranks of words follow Zipf's law over 200,000 made-up words, so that an index
over them has the few long lists and the many short ones that one over Wikipedia has. No text of anybody is in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.records import EmbeddedPage, Page, Source, Span

DIMENSION = 384
CHUNKS = 7
"""A page."""
WORDS = 60
"""A chunk."""
VOCABULARY = 200_000
EXPONENT = 1.05
"""Of Zipf's law. The most frequent word is 4 % of the text then; "the" is 6 % of English."""
GERMAN = 0.05
"""Share of the pages."""
PAGES_A_CATEGORY = 3
"""The English Wikipedia has one category for every three articles, and five on each article."""
CATEGORIES = 5

_CONSONANTS, _VOWELS = "bcdfghjklmnprstvwz", "aeiou"


@dataclass(frozen=True)
class Corpus:
    """Pages 0, 1, 2 … of one seed."""

    pages: int
    seed: int = 7
    words: int = WORDS
    """A chunk."""
    dimension: int = DIMENSION

    @cached_property
    def vocabulary(self) -> NDArray[np.object_]:
        """Made-up words, the frequent ones short; German ones, in the second half, end otherwise."""
        random = np.random.default_rng(self.seed)
        found: dict[str, None] = {}
        while len(found) < VOCABULARY:
            syllables = 1 + min(4, len(found) // 80 and int(np.log10(len(found) / 8)))
            word = "".join(
                _CONSONANTS[c] + _VOWELS[v]
                for c, v in zip(random.integers(18, size=syllables), random.integers(5, size=syllables), strict=True)
            )
            found[word + "nrstlmdkx"[random.integers(9)]] = None
        return np.array(list(found), object)

    @cached_property
    def centres(self) -> NDArray[np.float32]:
        """The directions that the vectors lie around: no index can order vectors that are all equally far apart."""
        return np.random.default_rng(self.seed + 1).normal(size=(2_000, self.dimension)).astype(np.float32)

    def ranks(self, random: np.random.Generator, size: int) -> NDArray[np.int64]:
        """Words by Zipf's law, as places in the vocabulary."""
        found: NDArray[np.int64] = np.searchsorted(self._shares, random.random(size), side="right")
        return found

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        shares = np.cumsum(1 / np.arange(3, VOCABULARY + 3) ** EXPONENT)
        found: NDArray[np.float64] = shares / shares[-1]
        return found

    def page(self, number: int, offset: int = 0) -> EmbeddedPage:
        """One page with its vectors.

        Args:
            offset: where it stands in `pages`; a greater one makes it newer.
        """
        random = np.random.default_rng((self.seed, number))
        ranks = self.ranks(random, CHUNKS * self.words)
        german = number % round(1 / GERMAN) == 0
        words = self.vocabulary[(ranks + VOCABULARY // 2) % VOCABULARY if german else ranks]
        texts = [" ".join(words[n * self.words : (n + 1) * self.words]) + "." for n in range(CHUNKS)]
        starts = np.cumsum([0, *(len(text) + 1 for text in texts)]).tolist()
        wiki = "dewiki" if german else "enwiki"
        return EmbeddedPage(
            key=f"{wiki}:{number}",
            source=Source("p", number % 32, offset or number + 1),
            page=Page(
                wiki=wiki,
                page_id=str(number),
                title=self.title(number),
                text=" ".join(texts),
                revision=number,
                url=f"https://{wiki[:2]}.example/wiki/{number}",
                timestamp=_time(random),
                categories=tuple(f"Category {n}" for n in self._categories(random)),
                aliases=tuple(self._name(random) for _ in range(int(random.integers(3)))),
                incoming_links=int(random.pareto(1) * 10),
                popularity_score=float(random.pareto(1) * 1e-8),
                language=wiki[:2],
                snapshot="20260101",
            ),
            spans=tuple(Span(n, starts[n], starts[n + 1] - 1) for n in range(CHUNKS)),
            dimension=self.dimension,
            vectors=self.clustered(random, CHUNKS).tobytes(),
        )

    def title(self, number: int) -> str:
        """The page's title: one to three words, the rarer ones more often than in texts."""
        return self._name(np.random.default_rng((self.seed, number, 1)))

    def clustered(self, random: np.random.Generator, count: int) -> NDArray[np.float32]:
        """Unit vectors."""
        found = self.centres[random.integers(len(self.centres), size=count)]
        found = found + random.normal(size=found.shape).astype(np.float32) * np.float32(0.7)
        unit: NDArray[np.float32] = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype("<f4")
        return unit

    def batches(self, pages: int) -> Iterator[list[EmbeddedPage]]:
        """All pages, so many at a time."""
        for start in range(0, self.pages, pages):
            yield [self.page(number) for number in range(start, min(start + pages, self.pages))]

    def question(self, number: int, words: int = 6) -> str:
        """Words of one page in the order of their place, every third of a stretch: a query of the usual length."""
        page = self.page(number).page
        assert page is not None
        said = page.text.split()
        start = int(np.random.default_rng((self.seed, number, 2)).integers(len(said) - 3 * words))
        return " ".join(said[start : start + 3 * words : 3]).replace(".", "")

    def _name(self, random: np.random.Generator) -> str:
        places = (VOCABULARY * random.random(int(random.integers(1, 4))) ** 2).astype(int)
        return " ".join(self.vocabulary[places]).capitalize()

    def _categories(self, random: np.random.Generator) -> list[int]:
        kinds = max(10, self.pages // PAGES_A_CATEGORY)
        return sorted({int(kinds * random.random() ** 2) for _ in range(CATEGORIES)})


def _time(random: np.random.Generator) -> str:
    seconds = int(np.datetime64("2026-01-01", "s").astype(int) - random.exponential(3e7))
    return f"{np.datetime64(seconds, 's')}Z"
