"""Which documents of an index become pages, and what of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Redirects = Literal["alias", "skip", "page"]
Disambiguation = Literal["keep", "skip"]
References = Literal["keep", "drop"]


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
