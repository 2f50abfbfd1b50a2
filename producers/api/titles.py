"""Pages that the user means: titles on the command line, or those of a category."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from pipeline.errors import UsageError
from producers.api.answers import Titled
from producers.api.client import MediaWikiApi
from producers.wikimedia.links import CATEGORY
from producers.wikimedia.titles import as_title, is_title


def titles_in(text: str) -> list[str]:
    """`A|B` to its titles; a blank one is kept, to be counted."""
    return [as_title(title) for title in text.split("|")]


def pages_in(api: MediaWikiApi, category: str, depth: int) -> Iterator[Titled]:
    """The pages of a category and of its subcategories down to `depth`, each once; categories contain each other."""
    name = as_title(category)
    if name.partition(":")[0].strip().replace("_", " ").lower() not in api.site().names.category:
        name = f"Category:{name}"
    if not is_title(name):
        raise UsageError(f"--category: {category!r} is no title")
    waiting, seen_categories, seen_pages = deque([(name, 0)]), {name}, set[int]()
    while waiting:
        parent, level = waiting.popleft()
        for member in api.members(parent):
            if member.ns == CATEGORY and level < depth and member.title not in seen_categories:
                seen_categories.add(member.title)
                waiting.append((member.title, level + 1))
            if member.pageid > 0 and member.pageid not in seen_pages:
                seen_pages.add(member.pageid)
                yield member
