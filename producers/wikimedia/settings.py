"""The user's choice among a wiki's documents, the same wherever they are read."""

from __future__ import annotations

from pydantic import Field

from pipeline.settings import Settings
from producers.wikimedia.namespaces import Namespaces, numbers_of
from producers.wikimedia.rules import Disambiguation, DocumentRules, Redirects, References


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
