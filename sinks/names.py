"""Names of pages, folded so that one who types finds them: without case, accents and compatibility forms. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

MAX_NAME = 300
"""Characters; MediaWiki's titles have at most 255 bytes."""
MAX_NAMES = 10_000
"""Characters of all names of one page."""

_ACCENTS = re.compile("[\u0300-\u036f]")
"""The combining marks of Latin, Greek and Cyrillic. Those of other scripts are vowels there and stay."""
_BLANKS = re.compile(r"[\s_\x00-\x1f\x7f-\x9f]+")


def folded(name: str) -> str:
    """The name as it is compared: NFKC, case folded, accents off, one blank for each run of blanks and underscores.

    >>> folded("Café_au  LAIT"), folded("Straße"), folded("हिन्दी") == "हिन्दी"
    ('cafe au lait', 'strasse', True)
    """
    text = name[:MAX_NAME]
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = _ACCENTS.sub("", unicodedata.normalize("NFD", text.casefold()))
        text = unicodedata.normalize("NFC", text)
    return _BLANKS.sub(" ", text.casefold()).strip()


def folded_names(title: str, aliases: Iterable[str]) -> str:
    """All names of a page, folded, one a line, the title first, none twice; as many as fit into `MAX_NAMES`."""
    lines: dict[str, None] = {}
    room = MAX_NAMES
    for name in (title, *aliases):
        line = folded(name)
        if line and line not in lines:
            room -= len(line) + 1
            if room < 0:
                break
            lines[line] = None
    return "\n".join(lines)
