"""Titles of pages as MediaWiki has them, and lists of them as people have them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.settings import MIB

MAX_LIST_BYTES = 512 * MIB
MAX_TITLE_BYTES = 255
_NEVER_IN_TITLES = frozenset("#<>[]{}|\x7f").union(map(chr, range(32)))


def as_title(text: str) -> str:
    """A title as MediaWiki has it: in NFC, the Unicode form in which accents are one with their letters."""
    return unicodedata.normalize("NFC", text.strip())


def is_title(title: str) -> bool:
    """True when MediaWiki could have a page of this name: one that is not would make it refuse the whole request.

    Bytes of a command line that are no UTF-8 come as halves of surrogate pairs, which no request can say.
    """
    try:
        size = len(title.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= MAX_TITLE_BYTES and _NEVER_IN_TITLES.isdisjoint(title)


def read_titles(path: Path) -> list[str]:
    """The lines of a list of titles, blank ones too; a byte order mark is no part of the first.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise UsageError(f"{path}: larger than {MAX_LIST_BYTES:,} bytes, which is no list of titles")
        return [as_title(line) for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 at byte {error.start}") from None
