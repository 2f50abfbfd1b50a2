"""The user's choice among a wiki's documents, the same wherever they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.settings import Settings

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


def _sorted(value: str) -> str:
    try:
        numbers = sorted({int(number) for number in value.split(",")})
    except ValueError:
        raise ValueError("numbers with commas between them, such as 0,14") from None
    return ",".join(map(str, numbers))


Namespaces = Annotated[str, AfterValidator(_sorted)]
"""Such as `0,14`."""


def numbers_of(namespaces: str) -> frozenset[int]:
    return frozenset(int(number) for number in namespaces.split(","))


class DocumentSettings(Settings):
    """The documents of a wiki that become pages."""

    namespaces: Namespaces = Field("0", description="Namespaces to keep, such as 0,14.")
    redirects: Redirects = Field(
        "alias", description="Redirects: titles of the page they lead to (alias), left out, or pages of their own."
    )
    disambiguation: Disambiguation = Field("keep", description="Pages that only tell apart things of one name.")
    references: References = Field(
        "keep", description="Lists of references; dropped only where the text has its headings in it."
    )

    @property
    def rules(self) -> DocumentRules:
        """These settings as the reader of documents takes them."""
        return DocumentRules(
            namespaces=numbers_of(self.namespaces),
            redirects=self.redirects,
            disambiguation=self.disambiguation,
            references=self.references,
        )
