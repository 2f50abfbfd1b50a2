"""Which pages the user means: titles on the command line, in a file, or in a category."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.settings import MIB
from producers.api.answers import Titled
from producers.api.client import MediaWikiApi

MAX_FILE_BYTES = 512 * MIB
MAX_TITLE_BYTES = 255
_CATEGORY = 14
_NEVER_IN_TITLES = frozenset("#<>[]{}|\x7f").union(map(chr, range(32)))


def titles_in(text: str) -> list[str]:
    """`A|B` to its titles; a blank one is kept, to be counted."""
    return [title.strip() for title in text.split("|")]


def titles_in_file(path: Path) -> list[str]:
    """The lines of a file of titles. Raises UsageError when it cannot be read."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path}: larger than {MAX_FILE_BYTES:,} bytes, which is no list of titles")
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 at byte {error.start}") from None


def is_title(title: str) -> bool:
    """Whether MediaWiki could have a page of this name: one that is not would make it refuse the whole request."""
    return 0 < len(title.encode("utf-8", "replace")) <= MAX_TITLE_BYTES and _NEVER_IN_TITLES.isdisjoint(title)


def pages_in(api: MediaWikiApi, category: str, depth: int) -> Iterator[Titled]:
    """The pages of a category and of its subcategories down to `depth`, each once; categories contain each other."""
    name = category if category.lower().startswith("category:") else f"Category:{category}"
    if not is_title(name):
        raise UsageError(f"--category: {category!r} is no title")
    waiting, seen_categories, seen_pages = deque([(name, 0)]), {name}, set[int]()
    while waiting:
        parent, level = waiting.popleft()
        for member in api.members(parent):
            if member.ns == _CATEGORY and level < depth and member.title not in seen_categories:
                seen_categories.add(member.title)
                waiting.append((member.title, level + 1))
            if member.pageid > 0 and member.pageid not in seen_pages:
                seen_pages.add(member.pageid)
                yield member
