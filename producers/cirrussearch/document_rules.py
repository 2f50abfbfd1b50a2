"""Which documents of an index become pages, and what of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import UsageError

Redirects = Literal["alias", "skip", "page"]
Disambiguation = Literal["keep", "skip"]
References = Literal["keep", "drop"]

MAX_PAGES_FILE = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DocumentRules:
    """The user's choice; what it leaves out is counted under `namespace`, `disambiguation`, and so on."""

    namespaces: frozenset[int] = frozenset({0})
    redirects: Redirects = "alias"
    disambiguation: Disambiguation = "keep"
    references: References = "keep"
    categories: frozenset[str] = frozenset()
    """In lower case; a page in any of them is wanted. Empty: all are."""
    min_popularity: float = 0.0
    pages: frozenset[str] | None = None
    """Ids and titles that are wanted; None: all are."""


def read_pages_file(path: Path) -> frozenset[str]:
    """The ids and titles in a file, one a line; titles as the wiki shows them, or with `_` for a space.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        if path.stat().st_size > MAX_PAGES_FILE:
            raise UsageError(f"{path}: larger than {MAX_PAGES_FILE:,} bytes, which is no list of pages")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    return frozenset(line.strip().replace("_", " ") for line in lines if line.strip())
