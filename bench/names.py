"""Questions made of a table's own titles and aliases: as they are, and with one wrong letter."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bench.question_sets import Question, QuestionSet
from sinks.names import folded
from sinks.reader import Reader
from sinks.rows import LIVE

SHORTEST = 5
"""Letters of a name that gets a wrong one: with fewer, the name is often another page's."""


def sets_of(reader: Reader, count: int, seed: int) -> list[QuestionSet]:
    """At most `count` questions of each kind, from pages chosen by `seed`."""
    pages: list[dict[str, Any]] = reader.read(
        lambda lance: (
            lance.search().where(f"n = 0 AND {LIVE}").select(["page", "title", "aliases"]).to_arrow().to_pylist()
        )
    )
    pages.sort(key=lambda page: page["page"])
    return list(made(pages, count, random.Random(seed)))


def made(pages: Sequence[Mapping[str, Any]], count: int, chosen: random.Random) -> Iterator[QuestionSet]:
    """Titles, aliases, and both with one wrong letter; pure.

    Args:
        pages: `page`, `title`, `aliases`; a name of several pages is right for each of them.
        count: questions of each kind.
    """
    titles = [page["title"] for page in pages if page["title"]]
    aliases = [alias for page in pages for alias in page["aliases"] or ()]
    owners: dict[str, dict[str, int]] = defaultdict(dict)
    for page in pages:
        for name in (page["title"] or "", *(page["aliases"] or ())):
            owners[folded(name)][page["page"]] = 1
    for kind, names in (("titles", titles), ("aliases", aliases)):
        some = chosen.sample(names, min(count, len(names)))
        if some:
            yield QuestionSet(kind, [Question(name, owners[folded(name)]) for name in some])
    long = [name for name in titles + aliases if sum(map(str.isalpha, name)) >= SHORTEST]
    wrong = list(_misspelt(chosen.sample(long, min(count, len(long))), owners, chosen))
    if wrong:
        yield QuestionSet("one wrong letter", wrong)


def _misspelt(
    names: Iterable[str], owners: Mapping[str, Mapping[str, int]], chosen: random.Random
) -> Iterator[Question]:
    for name in names:
        written = misspelt(name, chosen)
        if folded(written) not in owners:
            yield Question(written, owners[folded(name)])


def misspelt(name: str, chosen: random.Random) -> str:
    """The name with one letter, any but its first, replaced, left out, doubled, or swapped with the one behind it.

    >>> misspelt("Lighthouse", random.Random(4))
    'Lighthosue'
    """
    places = [place for place, letter in enumerate(name) if place and letter.isalpha()]
    place = chosen.choice(places)
    letter = name[place]
    letters = sorted({other for other in name.casefold() if other.isalpha()} - {letter.casefold()})
    ways = [name[:place] + name[place + 1 :], name[:place] + letter + name[place:]]
    if letters:
        ways.append(name[:place] + chosen.choice(letters) + name[place + 1 :])
    if place + 1 < len(name) and name[place + 1] != letter:
        ways.append(name[:place] + name[place + 1] + letter + name[place + 2 :])
    return chosen.choice(ways)
